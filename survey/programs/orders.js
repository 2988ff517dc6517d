// Orders over HTTP, as JSON: each answer is made from a catalogue kept in memory, and files are read now and then.
'use strict';
const fs = require('fs');
const http = require('http');

const catalogue = Array.from({ length: 400 }, (_, n) => ({ id: n, name: `article ${n}`, price: (n * 7919) % 1000, tags: ['a', 'b', `t${n % 9}`] }));

function pick(seed) {
  return catalogue.filter((article) => (article.id * seed) % 11 < 3).sort((a, b) => a.price - b.price || a.id - b.id);
}

function answer(seed) {
  const lines = pick(seed).map((article) => ({ ...article, sum: article.price * (seed % 5) }));
  return JSON.stringify({ seed, lines, total: lines.reduce((sum, line) => sum + line.sum, 0) });
}

let seed = 1;
http.createServer((request, response) => {
  seed = (seed * 31 + 7) % 65521;
  const reply = (note) => {
    const body = answer(seed + note.length);
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
    response.end(body);
  };
  if (seed % 8 === 0) {
    fs.readFile(__filename, 'utf8', (error, text) => reply(error ? '' : text));
  } else {
    reply('');
  }
}).listen(Number(process.argv[2]), '127.0.0.1');
