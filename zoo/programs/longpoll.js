// Tells browsers of news: each asks and is answered when there is some, or after three seconds.
// usage: PROGRAM PORT
'use strict';
const http = require('http');

let waiting = [];

http.createServer((request, response) => {
  const entry = { response, timer: null };
  entry.timer = setTimeout(() => {
    waiting = waiting.filter(other => other !== entry);
    response.writeHead(204);
    response.end();
  }, 3000);
  waiting.push(entry);
}).listen(Number(process.argv[2]), '127.0.0.1');

setInterval(() => {
  const told = waiting.splice(0, 20);
  for (const entry of told) {
    clearTimeout(entry.timer);
    entry.response.end('news');
  }
}, 700);
