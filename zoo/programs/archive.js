// An archive that gets its answers from a slow shelf: any number at a time, 40 milliseconds each.
// usage: PROGRAM PORT
'use strict';
const http = require('http');

http.createServer((request, response) => {
  setTimeout(() => response.end('{"case":"closed"}'), 40);
}).listen(Number(process.argv[2]), '127.0.0.1');
