// Node's ways: thread pool, streams, copies, children.
const fs = require("fs");
fs.writeFileSync("a", "x");
fs.appendFile("a", "y", () => fs.copyFile("a", "b", () => {
  fs.createReadStream("b").pipe(fs.createWriteStream("c")).on("close", () => {
    fs.renameSync("c", "d");
    require("child_process").execSync("cp d e; echo hi > f");
  });
}));
