"""A directive for the rules of the model: ``{rule} id`` gives a paragraph with an anchor."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Rule(SphinxDirective):
    """A rule of the model; ``{ref}`rule.ID``` links to it."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the rule, its id in front."""
        name = f"rule.{self.arguments[0]}"
        container = nodes.container(classes=["rule"])
        target = nodes.make_id(name)
        container["ids"].append(target)
        self.state.nested_parse(self.content, self.content_offset, container)
        first = container.next_node(nodes.paragraph)
        assert first is not None
        first.insert(0, nodes.Text("  "))
        first.insert(0, nodes.literal(text=self.arguments[0]))
        labels = self.env.get_domain("std")
        labels.labels[name] = (self.env.docname, target, self.arguments[0])  # type: ignore[attr-defined]
        labels.anonlabels[name] = (self.env.docname, target)  # type: ignore[attr-defined]
        return [container]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("rule", Rule)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
