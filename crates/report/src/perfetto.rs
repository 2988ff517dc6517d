//! The event window as a trace that ui.perfetto.dev opens: the JSON trace event format, a track a thread, and an arrow from
//! whoever ended a wait to the one who waited.

use diagnosis::path::{Doing, Timeline};
use observe::{Pid, Recording, Tid};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The trace; without an event window one without tracks.
pub fn perfetto(recording: &Recording) -> String {
    let (mut events, mut named) = (Vec::new(), BTreeSet::new());
    if let Ok(timeline) = Timeline::of(recording) {
        let mut threads: Vec<_> = timeline.threads().collect();
        threads.sort_by_key(|(tid, thread)| (thread.pid, *tid));
        for (tid, thread) in threads {
            if named.insert(thread.pid) {
                let name = recording.process_name(thread.pid);
                events.push(json!({
                    "ph": "M", "name": "process_name", "pid": thread.pid.0, "tid": tid.0, "args": { "name": name },
                }));
            }
            track(&timeline, tid, thread.pid, recording, &mut events);
        }
    }
    json!({ "traceEvents": events, "displayTimeUnit": "ms" }).to_string()
}

fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn track(timeline: &Timeline, tid: Tid, pid: Pid, recording: &Recording, events: &mut Vec<Value>) {
    for (from, to, doing) in timeline.pieces(tid, timeline.begin, timeline.end) {
        let (what, args) = match doing {
            Doing::Running => ("runs".to_owned(), json!({})),
            Doing::Runnable(off) => ("waits for a CPU".to_owned(), json!({ "cpu": off.cpu })),
            Doing::Blocked(off) => {
                let wait = timeline.wait(&off);
                let what = wait.map_or("waits", |wait| wait.class.about());
                let by = off.by.and_then(|by| timeline.thread(by)).map(|by| recording.process_name(by.pid));
                let stack: Vec<String> = wait.map_or_else(Vec::new, |wait| {
                    wait.stack.iter().map(|frame| recording.frame(*frame).label()).collect()
                });
                let args = json!({
                    "resource": wait.map_or("", |wait| wait.resource.as_str()),
                    "until": by.unwrap_or_default(),
                    "stack": stack,
                });
                (what.to_owned(), args)
            }
        };
        events.push(json!({
            "ph": "X", "name": what, "cat": "thread", "pid": pid.0, "tid": tid.0,
            "ts": microseconds(from), "dur": microseconds(to - from), "args": args,
        }));
        if let Doing::Blocked(off) = doing
            && let Some((by, waker)) = off.by.and_then(|by| Some((by, timeline.thread(by)?)))
        {
            let id = events.len();
            events.push(json!({
                "ph": "s", "name": "wakes", "cat": "wake", "id": id, "pid": waker.pid.0, "tid": by.0,
                "ts": microseconds(off.woken),
            }));
            events.push(json!({
                "ph": "f", "bp": "e", "name": "wakes", "cat": "wake", "id": id, "pid": pid.0, "tid": tid.0,
                "ts": microseconds(off.on),
            }));
        }
    }
}
