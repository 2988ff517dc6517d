// An API gateway that registers a listener with every request and never removes it; each keeps its request alive.
// Models resident memory that grows steadily; it ends at about 2 GB by starting over.
// usage: PROGRAM PORT
const http = require("http");
const EventEmitter = require("events");

let settings = new EventEmitter();
settings.setMaxListeners(0);
let open = 0;

function handle(request, response) {
  const session = { url: request.url, body: Buffer.alloc(65536, request.url), opened: Date.now() };
  settings.on("changed", () => session.opened = Date.now());
  if (++open > 30000) {
    settings.removeAllListeners();
    open = 0;
  }
  response.end(JSON.stringify({ url: session.url, length: session.body.length }));
}

const port = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });

function visit(number) {
  http.get({ port, agent, path: `/carts/${number}` }, (answer) => {
    answer.resume();
    answer.on("end", () => setTimeout(visit, 4, number + 2));
  });
}

http.createServer(handle).listen(port, "127.0.0.1", () => [1, 2].forEach(visit));
