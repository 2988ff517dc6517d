//! The programs, and what each is made of.

/// One line of the table of programs.
pub struct Program {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it is written in.
    pub language: &'static str,
    /// What its first thread waits for, in a phrase.
    pub about: &'static str,
    /// Programs without which it is skipped.
    pub needs: &'static [&'static str],
    /// Its sources.
    pub files: &'static [&'static str],
    /// What is started, in the folder that has everything.
    pub command: &'static [&'static str],
}

const CC: &[&str] = &["cc"];
const PYTHON: &[&str] = &["/usr/bin/python3"];
const PERL: &[&str] = &["/usr/bin/perl"];

/// Every program, in the order of the table.
pub const PROGRAMS: [Program; 18] = [
    Program {
        name: "mutex-compute",
        language: "C",
        about: "a mutex whose holder computes",
        needs: CC,
        files: &["till.c"],
        command: &["./till", "count"],
    },
    Program {
        name: "mutex-sleep",
        language: "C",
        about: "a mutex whose holder sleeps",
        needs: CC,
        files: &["till.c"],
        command: &["./till", "pause"],
    },
    Program {
        name: "condition",
        language: "C",
        about: "a worker thread that computes and sleeps, by condition variables",
        needs: CC,
        files: &["press.c"],
        command: &["./press"],
    },
    Program {
        name: "unix-socket",
        language: "C",
        about: "another process on a unix socket, which syncs a file",
        needs: CC,
        files: &["booking.c", "journal.c"],
        command: &["./booking", "./journal"],
    },
    Program {
        name: "semaphore",
        language: "C",
        about: "another process by semaphores in shared memory",
        needs: CC,
        files: &["belt.c"],
        command: &["./belt"],
    },
    Program {
        name: "message-queue",
        language: "C",
        about: "another process by POSIX message queues",
        needs: CC,
        files: &["letterbox.c"],
        command: &["./letterbox"],
    },
    Program {
        name: "pipes",
        language: "sh, Perl, C",
        about: "a shell that waits for a chain of three with pipes, of which the middle one is slow",
        needs: &["cc", "/usr/bin/perl"],
        files: &["intake.sh", "extract.pl", "convert.c", "digest.pl", "Spent.pm"],
        command: &["./intake", "./extract", "./convert", "./digest"],
    },
    Program {
        name: "pipe-reader",
        language: "Perl, C",
        about: "the end of a chain of three, which reads from the slow middle one and computes meanwhile",
        needs: &["cc", "/usr/bin/perl"],
        files: &["extract.pl", "convert.c", "digest.pl", "Spent.pm"],
        command: &["./digest", "./extract", "./convert"],
    },
    Program {
        name: "tcp-chain",
        language: "Python",
        about: "a server on TCP that waits for a third, which computes and sleeps",
        needs: PYTHON,
        files: &["shop.py", "catalog.py", "prices.py", "spent.py"],
        command: &["./shop", "./catalog", "./prices"],
    },
    Program {
        name: "python-threads",
        language: "Python",
        about: "queues to a thread that compresses without the interpreter's lock, and to one that sleeps",
        needs: PYTHON,
        files: &["archiver.py", "spent.py"],
        command: &["./archiver"],
    },
    Program {
        name: "python-pool",
        language: "Python",
        about: "a pool with one worker process, which computes, sleeps and syncs a file",
        needs: PYTHON,
        files: &["pool.py", "spent.py"],
        command: &["./pool"],
    },
    Program {
        name: "asyncio",
        language: "Python, C",
        about: "a subprocess that computes and sleeps, then asyncio.sleep",
        needs: &["cc", "/usr/bin/python3"],
        files: &["gallery.py", "scale.c", "spent.py"],
        command: &["./gallery", "./scale"],
    },
    Program {
        name: "node",
        language: "JavaScript",
        about: "a worker thread that computes, then fs.fsync",
        needs: &["node"],
        files: &["render.js"],
        command: &["node", "render.js"],
    },
    Program {
        name: "java",
        language: "Java",
        about: "futures of a pool that computes, syncs a file and sleeps",
        needs: &["java", "javac"],
        files: &["Ledger.java"],
        command: &["java", "-Xmx128m", "-XX:-UsePerfData", "-cp", ".", "Ledger"],
    },
    Program {
        name: "go",
        language: "Go",
        about: "goroutines that compute and sleep, by channels",
        needs: &["go"],
        files: &["kitchen.go"],
        command: &["./kitchen"],
    },
    Program {
        name: "rust",
        language: "Rust",
        about: "threads that compute and sync a file, by channels",
        needs: &["{rustc}", "cc"],
        files: &["mill.rs"],
        command: &["./mill"],
    },
    Program {
        name: "perl",
        language: "Perl",
        about: "a child that computes and sleeps, and flock held by another process",
        needs: PERL,
        files: &["nightly.pl", "indexer.pl", "Spent.pm"],
        command: &["./nightly", "./indexer"],
    },
    Program {
        name: "make",
        language: "make, sh, C",
        about: "make with recipes that compute and sleep",
        needs: &["make", "cc"],
        files: &["Makefile", "scale.c"],
        command: &["make", "--no-print-directory"],
    },
];

#[cfg(test)]
mod tests {
    use super::super::pairs::PAIRS;
    use super::PROGRAMS;
    use std::path::Path;

    #[test]
    fn names_are_unique_and_sources_are_there() {
        let names = PROGRAMS.iter().map(|program| program.name).chain(PAIRS.iter().map(|pair| pair.name));
        assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), PROGRAMS.len() + PAIRS.len());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../truth/programs");
        for file in PROGRAMS.iter().flat_map(|program| program.files) {
            assert!(sources.join(file).is_file(), "{file}");
        }
    }
}
