// Ships a camera's recordings to an archive, one after another, each when the archive has the one before.
// usage: PROGRAM HOST PORT
'use strict';
const http = require('http');
const crypto = require('crypto');

const [host, port] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const recording = crypto.randomBytes(512 * 1024);
let number = 0;

function shipNext() {
  number += 1;
  recording.writeUInt32LE(number);
  const path = `/camera4/${number}.ts`;
  const request = http.request({ host, port, path, agent, method: 'PUT', headers: { 'Content-Length': recording.length } });
  request.on('response', (response) => response.resume().on('end', shipNext));
  request.on('error', () => setTimeout(shipNext, 100));
  request.end(recording);
}

shipNext();
