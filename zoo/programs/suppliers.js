// A supplier's gateway: before each order goes out it waits, by a timer, so as to keep below the supplier's rate.
// Models a service that is slow because it sleeps on the path of a request.
// usage: PROGRAM PORT
'use strict';
const http = require('http');

function keepBelowRate() {
  return new Promise((resolve) => setTimeout(resolve, 70));
}

http.createServer(async (request, response) => {
  await keepBelowRate();
  response.end('{"accepted":true}');
}).listen(Number(process.argv[2]), '127.0.0.1');
