// A chat's memory: the last messages are kept as objects in a map; for each message that comes, old ones go.
// Models a runtime that collects garbage most of the time.
// usage: PROGRAM
'use strict';
const rooms = new Map();
let number = 0;

function receive() {
  number++;
  const room = (number * 7919) % 4000;
  const messages = rooms.get(room) || [];
  const kept = messages.slice(-60);
  kept.push({ number, author: { name: 'guest ' + (number % 977), colour: [number % 255, 80, 90] }, text: 'message ' + number, seen: new Set([room]) });
  rooms.set(room, kept);
}

function work() {
  for (let i = 0; i < 2000; i++) receive();
  setImmediate(work);
}
work();
