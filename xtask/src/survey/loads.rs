//! The programs that are surveyed: how each is built, started and loaded.

/// One line of the table of programs. In every word, `{dir}` stands for a folder of its own, `{port}` for a free port,
/// `{programs}` for the sources, `{postgres}` for PostgreSQL's programs, `{rustc}` for the compiler, and `{pid}` for the
/// server once it runs.
pub struct Load {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it does, in a phrase.
    pub about: &'static str,
    /// Programs without which it is skipped.
    pub needs: &'static [&'static str],
    /// Commands that make everything ready.
    pub prepare: &'static [&'static [&'static str]],
    /// What is looked at.
    pub server: &'static [&'static str],
    /// It listens on the port.
    pub listens: bool,
    /// It is several processes: friday looks at the whole machine.
    pub many: bool,
    /// It refuses to run as root.
    pub unprivileged: bool,
    /// Commands that fill it once it runs.
    pub fill: &'static [&'static [&'static str]],
    /// What loads it; empty where it has work of its own.
    pub client: &'static [&'static str],
    /// What makes its runtime list the names of compiled code, before every window; empty where nothing has to.
    pub names: &'static [&'static str],
    /// Its code has neither tables nor frame pointers: incomplete stacks are right, as long as friday says why.
    pub opaque: bool,
}

const PLAIN: Load = Load {
    name: "",
    about: "",
    needs: &[],
    prepare: &[],
    server: &[],
    listens: false,
    many: false,
    unprivileged: false,
    fill: &[],
    client: &[],
    names: &[],
    opaque: false,
};

const WRK: &[&str] = &["wrk", "-t", "1", "-c", "16", "-d", "86400s", "http://127.0.0.1:{port}/"];
const JAVAC: &[&str] = &["javac", "-d", "{dir}", "{programs}/Orders.java"];
const PERF_MAP: &[&str] = &["jcmd", "{pid}", "Compiler.perfmap"];

/// Every program, in the order of the table.
pub const LOADS: [Load; 9] = [
    Load {
        name: "redis",
        about: "50 clients set and get at redis: redis-benchmark",
        needs: &["redis-server", "redis-benchmark"],
        server: &[
            "redis-server",
            "--port",
            "{port}",
            "--bind",
            "127.0.0.1",
            "--dir",
            "{dir}",
            "--save",
            "",
            "--appendonly",
            "no",
        ],
        listens: true,
        client: &["redis-benchmark", "-p", "{port}", "-c", "50", "-t", "set,get", "-n", "1000000", "-l", "-q"],
        ..PLAIN
    },
    Load {
        name: "postgresql",
        about: "8 clients make transactions at PostgreSQL: pgbench",
        needs: &["{postgres}/initdb", "{postgres}/postgres", "pgbench"],
        prepare: &[&["{postgres}/initdb", "-D", "{dir}/data", "-U", "survey", "-A", "trust", "-N"]],
        server: &["{postgres}/postgres", "-D", "{dir}/data", "-p", "{port}", "-h", "127.0.0.1", "-k", "{dir}"],
        listens: true,
        many: true,
        unprivileged: true,
        fill: &[&["pgbench", "-h", "127.0.0.1", "-p", "{port}", "-U", "survey", "-q", "-i", "-s", "3", "postgres"]],
        client: &["pgbench", "-h", "127.0.0.1", "-p", "{port}", "-U", "survey", "-c", "8", "-T", "86400", "postgres"],
        ..PLAIN
    },
    Load {
        name: "nginx",
        about: "nginx serves a file of 16 KiB: wrk",
        needs: &["nginx", "wrk"],
        prepare: &[
            &["mkdir", "{dir}/site"],
            &["sh", "-c", "head -c 16384 /dev/zero | tr '\\0' x >{dir}/site/index.html"],
            &["sh", "-c", "sed 's|DIR|{dir}|; s|PORT|{port}|' {programs}/nginx.conf >{dir}/nginx.conf"],
        ],
        server: &["nginx", "-p", "{dir}", "-e", "{dir}/error.log", "-c", "{dir}/nginx.conf"],
        listens: true,
        many: true,
        client: WRK,
        ..PLAIN
    },
    Load {
        name: "node",
        about: "Node.js answers with JSON, with a perf map: wrk",
        needs: &["node", "wrk"],
        server: &["node", "--perf-basic-prof", "{programs}/orders.js", "{port}"],
        listens: true,
        client: WRK,
        ..PLAIN
    },
    Load {
        name: "python",
        about: "CPython answers with JSON, a thread a connection: wrk",
        needs: &["/usr/bin/python3", "wrk"],
        server: &["/usr/bin/python3", "{programs}/catalogue.py", "{port}"],
        listens: true,
        client: WRK,
        ..PLAIN
    },
    Load {
        name: "java",
        about: "threads of OpenJDK with queues and a monitor, with frame pointers and a perf map",
        needs: &["java", "javac", "jcmd"],
        prepare: &[JAVAC],
        server: &["java", "-Xmx256m", "-XX:+PreserveFramePointer", "-cp", "{dir}", "Orders", "{dir}/totals"],
        names: PERF_MAP,
        ..PLAIN
    },
    Load {
        name: "java-plain",
        about: "the same without frame pointers: stacks end early, and friday has to say why",
        needs: &["java", "javac", "jcmd"],
        prepare: &[JAVAC],
        server: &["java", "-Xmx256m", "-cp", "{dir}", "Orders", "{dir}/totals"],
        names: PERF_MAP,
        opaque: true,
        ..PLAIN
    },
    Load {
        name: "go",
        about: "goroutines of Go answer with JSON: wrk",
        needs: &["go", "wrk"],
        prepare: &[&["go", "build", "-o", "{dir}/orders", "{programs}/orders.go"]],
        server: &["{dir}/orders", "{port}"],
        listens: true,
        client: WRK,
        ..PLAIN
    },
    Load {
        name: "rust",
        about: "threads of Rust with a channel and a lock",
        needs: &["{rustc}", "cc"],
        prepare: &[&["{rustc}", "-O", "--edition", "2021", "-o", "{dir}/orders", "{programs}/orders.rs"]],
        server: &["{dir}/orders", "{dir}/totals"],
        ..PLAIN
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_what_is_started_is_needed_or_built() {
        let names: std::collections::BTreeSet<_> = LOADS.iter().map(|load| load.name).collect();
        assert_eq!(names.len(), LOADS.len());
        for load in &LOADS {
            let started = [load.server, load.client, load.names].into_iter().filter_map(|words| words.first());
            for program in started.filter(|program| !program.starts_with("{dir}")) {
                assert!(load.needs.contains(program), "{}: {program}", load.name);
            }
            assert!(load.client.is_empty() || load.listens, "{}", load.name);
        }
    }
}
