// Breaks paragraphs into lines of even width by trying out every break, for page after page.
// Models an expensive function in the program's own code.
// usage: PROGRAM
'use strict';
const words = Array.from({ length: 700 }, (_, i) => 2 + ((i * 7919) % 11));
let pages = 0;

function breakLines(lengths, width) {
  const best = new Float64Array(lengths.length + 1).fill(Infinity);
  best[lengths.length] = 0;
  for (let from = lengths.length - 1; from >= 0; from--) {
    let line = 0;
    for (let to = from; to < lengths.length; to++) {
      line += lengths[to] + 1;
      const rest = Math.abs(width - line);
      const cost = rest * rest * rest + best[to + 1];
      if (cost < best[from]) best[from] = cost;
    }
  }
  return best[0];
}

function layOut() {
  pages += breakLines(words, 60 + (pages % 20)) > 0 ? 1 : 0;
  setImmediate(layOut);
}
layOut();
