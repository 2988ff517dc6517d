// A shop's web server: baskets are answered at once; the sales report sorts and prints every sale in one go.
// Models one long callback that holds up an event loop.
// usage: PROGRAM PORT
'use strict';
const http = require('http');

const sales = [];
for (let i = 0; i < 60000; i++) sales.push({ number: i, item: 'item ' + (i * 7919) % 997, amount: (i * 104729) % 5000 });

function buildReport() {
  const sorted = sales.slice().sort((a, b) => a.item.localeCompare(b.item) || a.amount - b.amount);
  return JSON.stringify(sorted).length;
}

http.createServer((request, response) => {
  if (request.url === '/report') response.end(String(buildReport()));
  else response.end('{"basket":["bread","butter"]}');
}).listen(Number(process.argv[2]), '127.0.0.1');
