// A catalogue over HTTP: every request renders a page of forty products.
// usage: node THIS PORT
const http = require('http');

const products = Array.from({ length: 2000 }, (_, n) => ({ id: n, name: `Product ${n}`, price: (n * 37) % 500 }));

function renderPage(page) {
  const shown = products.slice(page * 40, page * 40 + 40);
  return JSON.stringify({ page, shown, total: shown.reduce((sum, product) => sum + product.price, 0) });
}

let turn = 0;
http.createServer((request, response) => {
  turn = (turn + 1) % 50;
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(renderPage(turn));
}).listen(Number(process.argv[2]), '127.0.0.1');
