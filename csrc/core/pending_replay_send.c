/*
 * pending_replay_send.c -- one cycle's sends from the heap of names, in the order of the keys.
 */
#include "heap.h"
#include "pending_replay.h"

static void
send_one(pc_pending_t *self, pc_budget_t *budget, uint32_t id, int64_t cost)
{
    pc_replay_t *state = self->state;
    pc_name_t *name = &state->names.name[id];
    pc_names_take_out(&state->names, id);
    budget->sent_bytes += cost;
    budget->resent_bytes += name->flags & PC_NAME_SENT ? cost : 0;
    self->bytes -= cost;
    state->counted[id].cost_bytes = 0;
    name->flags = (name->flags & ~(uint32_t)PC_NAME_PENDING) | PC_NAME_SENT | PC_NAME_COPIED;
    name->unsent_bytes = 0;
}

/*
 * One did not fit and is passed over.  Neither will others that cost more than what is left, which
 * only gets less: so the rest is looked at once, and few are ranked again.
 */
static void
send_what_fits(pc_pending_t *self, pc_budget_t *budget)
{
    pc_replay_t *state = self->state;
    pc_heap_t fits = {state->fits, 0};
    budget->examined += state->names.count;
    for (int64_t i = 0; i < state->names.count; i++) {
        uint32_t id = pc_names_id(state->names.entry[i]);
        if (pc_replay_cost(self, &state->names.name[id]) <= budget->left_bytes)
            fits.entry[fits.count++] = pc_replay_entry(self, id);
    }
    pc_heap_rebuild(&fits);
    for (; fits.count > 0; pc_heap_pop(&fits)) {
        uint32_t id = pc_names_id(fits.entry[0]);
        int64_t cost = pc_replay_cost(self, &state->names.name[id]);
        if (pc_budget_offer(budget, cost) == PC_OFFER_TAKEN)
            send_one(self, budget, id, cost);
    }
}

void
pc_replay_send(pc_pending_t *self, pc_budget_t *budget)
{
    pc_names_t *names = &((pc_replay_t *)self->state)->names;
    while (names->count > 0 && !budget->blocked) {
        pc_entry_t top = names->entry[0], now = pc_replay_entry(self, pc_names_id(top));
        budget->examined++;
        if (now != top) {
            pc_names_sink(names, 0, now);
            continue;
        }
        uint32_t id = pc_names_id(top);
        int64_t cost = pc_replay_cost(self, &names->name[id]);
        pc_offer_t answer = pc_budget_offer(budget, cost);
        if (answer == PC_OFFER_TAKEN)
            send_one(self, budget, id, cost);
        if (answer != PC_OFFER_PASSED)
            continue;
        send_what_fits(self, budget);
        break;
    }
}
