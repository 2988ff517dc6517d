// A mail reader's folder view: it lists a maildir and looks at every message in it, for every refresh.
// Models directory scans and stats that dominate.
// usage: PROGRAM FOLDER
const fs = require("fs");
const path = require("path");

function refresh(folder) {
  let bytes = 0;
  for (const entry of fs.readdirSync(folder)) bytes += fs.lstatSync(path.join(folder, entry)).size;
  return bytes;
}

let shown = 0;
function show() {
  shown += refresh(process.argv[2]);
  setImmediate(show);
}
show();
