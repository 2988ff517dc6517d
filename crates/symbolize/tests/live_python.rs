//! Functions of a Python program that runs.

use observe::Pid;
use std::{
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};
use symbolize::python::Interpreter;

/// Two threads, one of which computes in a method, and one that sleeps.
const PROGRAM: &str = "
import threading, time
class Shop:
    def price(self, n):
        return sum(i * i for i in range(n))
def naps():
    while True:
        time.sleep(0.01)
threading.Thread(target=naps, daemon=True).start()
shop = Shop()
while True:
    shop.price(1000)
";

/// `/usr/bin/python3`, or what `FRIDAY_PYTHONS` lists, separated by colons.
#[test]
#[ignore = "live: needs root"]
fn live_the_functions_of_a_python_program_are_named() {
    let pythons = std::env::var("FRIDAY_PYTHONS").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    for python in pythons.split(':') {
        let mut command = Command::new(python);
        let mut child = command.args(["-c", PROGRAM]).stdin(Stdio::null()).spawn().expect("python starts");
        sleep(Duration::from_millis(500));
        let pid = Pid(child.id());
        let looked = Interpreter::of(Path::new("/proc"), pid).map(|mut interpreter| {
            let looks = (0..300).filter_map(|_| {
                sleep(Duration::from_millis(1));
                interpreter.look(|_| false)
            });
            looks.collect::<Vec<_>>()
        });
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let looked = looked.unwrap_or_else(|| panic!("{python}: its interpreter was not found"));
        let is = |name: &str, start: &str| name.strip_prefix(start).is_some_and(|rest| rest.starts_with(" (<string>:"));
        let priced = looked.iter().filter(|look| {
            let names: Vec<&str> = look.functions.iter().map(|frame| frame.name.as_str()).collect();
            let outer = names.first().is_some_and(|name| is(name, "<module>"));
            let method = names.get(1).is_some_and(|name| is(name, "Shop.price") || is(name, "price"));
            outer && method && look.tid.is_none_or(|tid| tid.0 == pid.0)
        });
        let (priced, all) = (priced.count(), looked.len());
        eprintln!("{python}: {all} of 300 looks, {priced} of them in the method");
        assert!(all >= 200, "{python}: only {all} of 300 looks met somebody who runs");
        assert!(priced * 2 >= all, "{python}: {priced} of {all} looks are in the method: {:?}", looked.first());
    }
}
