//! The services: how each is started, asked, and made slower.

/// One line of the table of services. In every word, `{dir}` stands for a folder of its own, `{port}` for a free port,
/// `{rate}` for requests a second, `{programs}` for the sources, and `{postgres}` for PostgreSQL's programs.
pub struct Service {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it does, in a phrase.
    pub about: &'static str,
    /// Programs without which it is skipped.
    pub needs: &'static [&'static str],
    /// Commands that make everything ready.
    pub prepare: &'static [&'static [&'static str]],
    /// What is copied to the folder and run from there: a new version of it replaces the copy.
    pub program: &'static str,
    /// The name of its processes.
    pub process: &'static str,
    /// What is looked at.
    pub server: &'static [&'static str],
    /// It refuses to run as root.
    pub unprivileged: bool,
    /// The source that holds `STEPS`, how much work each request takes.
    pub work: &'static str,
    /// How much that is.
    pub steps: u32,
    /// What makes the running service take over that source; empty where it is the program, and started anew.
    pub load: &'static [&'static str],
    /// What asks, and how many times a second; one that does not do so evenly says each second how often it was (pgbench -P).
    pub client: &'static [&'static str],
    /// That many.
    pub rate: u32,
}

/// Every service, in the order of the table.
pub const SERVICES: [Service; 3] = [
    Service {
        name: "script",
        about: "a script of Python's that answers a line with a line",
        needs: &["/usr/bin/python3"],
        prepare: &[],
        program: "{programs}/desk.py",
        process: "python3",
        server: &["/usr/bin/python3", "{dir}/desk.py", "{port}"],
        unprivileged: false,
        work: "desk.py",
        steps: 8_000,
        load: &[],
        client: &["/usr/bin/python3", "{programs}/paced.py", "{port}", "{rate}", "total"],
        rate: 100,
    },
    Service {
        name: "redis",
        about: "redis runs a function of its own",
        needs: &["/usr/bin/redis-server", "redis-cli", "/usr/bin/python3"],
        prepare: &[],
        program: "/usr/bin/redis-server",
        process: "redis-server",
        server: &["{dir}/redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--dir", "{dir}", "--save", ""],
        unprivileged: false,
        work: "order.lua",
        steps: 10_000,
        load: &["sh", "-c", "redis-cli -p {port} -x function load replace <{dir}/order.lua"],
        client: &["/usr/bin/python3", "{programs}/paced.py", "{port}", "{rate}", "fcall total 0"],
        rate: 200,
    },
    Service {
        name: "postgresql",
        about: "PostgreSQL runs a function for four clients: pgbench",
        needs: &["{postgres}/initdb", "{postgres}/postgres", "psql", "pgbench"],
        prepare: &[
            &["{postgres}/initdb", "-D", "{dir}/data", "-U", "shop", "-A", "trust", "-N"],
            &["sh", "-c", "echo 'SELECT total();' >{dir}/ask.sql"],
        ],
        program: "{postgres}/postgres",
        process: "postgres",
        server: &["{dir}/postgres", "-D", "{dir}/data", "-p", "{port}", "-h", "127.0.0.1", "-k", "{dir}"],
        unprivileged: true,
        work: "order.sql",
        steps: 5_000,
        load: &["psql", "-h", "127.0.0.1", "-p", "{port}", "-U", "shop", "-q", "-f", "{dir}/order.sql", "postgres"],
        client: &[
            "pgbench",
            "-n",
            "-h",
            "127.0.0.1",
            "-p",
            "{port}",
            "-U",
            "shop",
            "-c",
            "4",
            "-T",
            "86400",
            "-R",
            "{rate}",
            "-P",
            "1",
            "-f",
            "{dir}/ask.sql",
            "postgres",
        ],
        rate: 200,
    },
];

#[cfg(test)]
mod tests {
    use super::SERVICES;
    use std::{fs, path::Path};

    #[test]
    fn names_are_unique_and_work_can_be_made_more() {
        let names: std::collections::BTreeSet<_> = SERVICES.iter().map(|service| service.name).collect();
        assert_eq!(names.len(), SERVICES.len());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../baseline/programs");
        for service in &SERVICES {
            assert!(fs::read_to_string(sources.join(service.work)).unwrap().contains("STEPS"), "{}", service.name);
        }
    }
}
