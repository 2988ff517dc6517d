// Checks the stock of one article after another in Redis, each on a connection of its own.
// usage: PROGRAM HOST PORT
'use strict';
const net = require('net');

const [host, port] = process.argv.slice(2);
let low = 0;

function checkArticle(number, done) {
  const key = `article:${number}`;
  const store = net.connect({ host, port: Number(port), noDelay: true }, () => {
    store.write(`*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`);
  });
  store.once('data', (answer) => {
    if (answer.toString().startsWith('$-1')) low += 1;
    store.end();
    done();
  });
  store.once('error', () => setTimeout(done, 100));
}

function checkFrom(number) {
  checkArticle(number, () => setImmediate(checkFrom, (number + 1) % 1000));
}

checkFrom(0);
