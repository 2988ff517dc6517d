// Takes the names of new customers, and says what the hour is.
// usage: PROGRAM PORT
'use strict';
const http = require('http');

const proper = /^([A-Za-z]+[ '-]?)+$/;

function isProper(name) {
  return proper.test(name);
}

http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/name') {
    response.end(isProper(url.searchParams.get('name')) ? 'welcome' : 'sorry');
  } else {
    response.end(new Date().toISOString());
  }
}).listen(Number(process.argv[2]), '127.0.0.1');
