// A page renderer of Node.js: a worker thread lays the page out, then the page is made durable.
'use strict';
const { Worker, isMainThread, parentPort } = require('worker_threads');
const fs = require('fs');

const PAGES = 30, OWN = 12000, LAYS = 70000, SAVES = 45000;
const now = () => Number(process.hrtime.bigint() / 1000n);

function compute(length) {
  const begin = now();
  let sum = 0;
  do {
    for (let i = 0; i < 20000; i++) sum = (sum * 31 + i) | 0;
  } while (now() < begin + length);
  return now() - begin;
}

function layOut() {
  parentPort.on('message', (page) => {
    if (page === null) return parentPort.close();
    parentPort.postMessage(compute(LAYS));
  });
}

// For how long the threads of the process have run or waited for a CPU.
function cpu() {
  const { user, system } = process.cpuUsage();
  const queued = (thread) => Number(fs.readFileSync(`/proc/self/task/${thread}/schedstat`, 'utf8').split(' ')[1]);
  return fs.readdirSync('/proc/self/task').reduce((sum, thread) => sum + queued(thread) / 1000, user + system);
}

async function main() {
  const spent = { running: 0, disk: 0 };
  const worker = new Worker(__filename);
  await new Promise((done) => worker.once('online', done));
  const begin = now();
  const file = fs.openSync('pages', 'a');
  for (let page = 0; page < PAGES; page++) {
    spent.running += compute(OWN);
    const laidOut = new Promise((done) => worker.once('message', done));
    worker.postMessage(page);
    spent.running += await laidOut;
    const before = cpu(), saving = now();
    while (now() < saving + SAVES) {
      fs.writeSync(file, Buffer.alloc(131072));
      await new Promise((done) => fs.fsync(file, done));
    }
    const whole = now() - saving, ran = cpu() - before;
    spent.running += ran;
    spent.disk += whole - ran;
  }
  const job = now() - begin;
  worker.postMessage(null);
  for (const [what, length] of Object.entries(spent)) console.error('truth node', what, Math.round(length));
  console.error('job', job);
}

if (isMainThread) main(); else layOut();
