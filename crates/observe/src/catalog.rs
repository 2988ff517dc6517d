//! Every metric, declared once: its name, shape, unit, labels, meaning and source. Names follow the OpenTelemetry
//! semantic conventions where one exists.

use crate::{Episode, Event, Fact, Histogram, Request, Series, Stack, ThreadTime, Wait};
use std::marker::PhantomData;

/// One metric. The type parameter is its shape.
pub struct Metric<S> {
    /// Stable name, also of the stored table's rows.
    pub name: &'static str,
    /// Unit, in UCUM notation as OpenTelemetry uses it (`s`, `By`, `1`, `{thread}`).
    pub unit: &'static str,
    /// Names of the labels that its rows carry.
    pub labels: &'static [&'static str],
    /// What it means.
    pub about: &'static str,
    /// Where it is read.
    pub source: &'static str,
    shape: PhantomData<fn() -> S>,
}

/// A catalog entry without its type, for documentation.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Stable name.
    pub name: &'static str,
    /// Shape.
    pub shape: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Meaning.
    pub about: &'static str,
    /// Source.
    pub source: &'static str,
}

macro_rules! catalog {
    ($($id:ident: $shape:ident = $name:literal, $unit:literal, [$($label:literal),*], $about:literal, $source:literal;)*) => {
        $(
            #[doc = $about]
            pub const $id: Metric<$shape> = Metric {
                name: $name, unit: $unit, labels: &[$($label),*], about: $about, source: $source, shape: PhantomData,
            };
        )*

        /// Every metric, for documentation and tests.
        pub const ALL: &[Entry] = &[$(Entry {
            name: $name, shape: stringify!($shape), unit: $unit, labels: &[$($label),*], about: $about, source: $source,
        }),*];
    };
}

catalog! {
    HOST_FACT: Fact = "host.fact", "1", ["name"],
        "Static facts of the machine: CPU model, clock source, governor, mitigations, kernel command line, uptime.",
        "/proc, /sys";
    SETTING: Fact = "host.setting", "1", ["name"],
        "Every setting of the kernel's that can be written (sysctl); of interfaces only `all` and `default`.", "/proc/sys";
    EXECUTABLE: Fact = "process.executable", "1", ["path"],
        "Programs and scripts that run, by what makes them the same: a build-id, or size and time of change.", "/proc/PID/exe";
    BASELINE: Fact = "friday.baseline", "1", ["case"],
        "What a case that was known to be good came to, as JSON.", "friday baseline";
    HOST_CHANGE: Fact = "host.change", "1", ["kind", "of", "at", "since"],
        "What changed in the two weeks before: `package` (installed, upgraded, removed), `config` (a file below /etc was written), `program` (the file of a running program was put there), `kernel` and `boot`; `at` in seconds since 1970, and `since` when the first process of a program started.",
        "package logs, /etc, /proc/PID/exe, /boot, /proc/stat";
    HOST_CHANGES_SEEN: Fact = "host.change.seen", "1", ["kind", "left_out"],
        "For each kind of change that was looked for: what could not be read, empty where all was; `left_out` counts those that were too many.",
        "friday";
    STATEMENT: Fact = "friday.statement", "1", ["question"],
        "What people said about the problem, by question: problem, performed_well, changed, latency, others, environment.",
        "friday monday, --statement";
    MOUNT: Fact = "system.filesystem.mount", "1", ["mountpoint", "type", "device"],
        "Mounted file systems backed by a device, with their options.", "/proc/self/mountinfo";
    FILESYSTEM_USAGE: Series = "system.filesystem.usage", "By", ["mountpoint", "type", "state"],
        "Space of file systems with a device, and of those in memory, by state: `used`, and `free` for anybody (what is reserved for root is neither); when the window ended.",
        "statvfs";
    FILESYSTEM_INODES: Series = "system.filesystem.inodes.usage", "{inode}", ["mountpoint", "type", "state"],
        "The same of inodes; no rows where a file system makes them as it needs them.", "statvfs";
    FILESYSTEM_WRITERS: Series = "process.filesystem.open", "{file}", ["pid", "mountpoint"],
        "Files that a process has open for writing on file systems that are full; when the window ended.",
        "/proc/PID/fd, /proc/PID/fdinfo";
    CGROUP_QUOTA: Fact = "cgroup.cpu.quota", "1", ["cgroup"],
        "CPU quota and period in microseconds, as `QUOTA PERIOD`; only groups that have one.",
        "cpu.max (v2), cpu.cfs_quota_us and cpu.cfs_period_us (v1)";

    CPU_TIME: Series = "system.cpu.time", "s", ["cpu", "mode"],
        "CPU time by mode (user, nice, system, idle, iowait, irq, softirq, steal), cumulative; user and nice without guest time.",
        "/proc/stat";
    RUNNABLE: Series = "system.cpu.runnable", "{thread}", [],
        "Threads running or waiting to run, sampled.", "/proc/stat procs_running";
    PRESSURE: Series = "system.pressure.time", "s", ["resource", "kind"],
        "Time in which some or all non-idle tasks were stalled on cpu, io or memory, cumulative.", "/proc/pressure";
    MEMORY: Series = "system.memory.usage", "By", ["state"],
        "Memory by state (total, available, free, cached, dirty, writeback, swap_total, swap_free), sampled.",
        "/proc/meminfo";
    PAGING: Series = "system.paging.operations", "{operation}", ["type"],
        "Faults, major faults, swap-ins, swap-outs, direct-reclaim stalls, OOM kills, how often somebody emptied the page cache (drop_cache), and refaults of file pages (refault_file): pages read again soon after they were evicted; cumulative.",
        "/proc/vmstat";
    DISK_BUSY: Series = "system.disk.io_time", "s", ["device"],
        "Time in which the device had at least one request in flight, cumulative.", "/proc/diskstats";
    DISK_WEIGHTED: Series = "system.disk.weighted_io_time", "s", ["device"],
        "Time in flight summed over requests, cumulative; its rate is the mean queue length.", "/proc/diskstats";
    DISK_OPERATIONS: Series = "system.disk.operations", "{operation}", ["device", "direction"],
        "Completed requests by direction (read, write, discard, flush), cumulative.", "/proc/diskstats";
    DISK_IO: Series = "system.disk.io", "By", ["device", "direction"],
        "Bytes moved by direction (read, write), cumulative.", "/proc/diskstats";
    CGROUP_CPU: Series = "cgroup.cpu.throttling", "1", ["cgroup", "what"],
        "Quota enforcement: periods, throttled_periods, and throttled_time in seconds, cumulative.", "cpu.stat";

    FILE_WAITS: Series = "process.file.wait", "s", ["pid", "file", "for"],
        "Time blocked on disks and file systems by file, in the system call that is named, or in page faults (`fault`), total.", "sched_switch, sched_waking";
    FILE_LOCKS: Series = "process.file.lock", "1", ["pid", "file", "mode"],
        "Part of the looks, two a second, in which a process held a lock (POSIX or flock) on a file, by mode (read, write).",
        "/proc/locks";
    FILE_LOCKED: Fact = "process.file.locked", "1", ["pid", "file"],
        "Processes that have a file open on which another held a lock for writing.", "/proc/locks, /proc/PID/fd";
    FILE_SIZE: Series = "process.file.size", "By", ["pid", "file"],
        "Sizes of these files, of those that were still open when the window ended.", "/proc/PID/fd";

    EPISODES: Episode = "thread.episode", "s", [],
        "Every time off a CPU in the event window, one by one, of every thread but friday's.", "sched_switch, sched_waking";
    EPISODE_WAITS: Wait = "thread.episode.wait", "s", [],
        "What the episodes' threads waited for: one row for what many waits have in common.", "sched_switch, sched_waking";
    EPISODE_REQUESTS: Request = "process.request", "s", [],
        "Every request that was answered in the event window, and every exchange that went out and was answered in it, one by one, in the order in which they began, some of them before it; see `process.request.duration` and `process.upstream.duration`.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    EVENT_WINDOW: Series = "friday.event_window", "1", ["what"],
        "The event window: its `begin` and `end`, in seconds since the window began, and how many episodes were `lost` in it.",
        "friday";

    RUN_QUEUE_WAIT: Histogram = "process.cpu.run_queue_wait", "ns", ["pid"],
        "From wake-up or preemption to running, per process.", "sched_waking, sched_switch";
    BLOCK_LATENCY: Histogram = "system.disk.request_latency", "ns", ["device", "direction"],
        "From issue to the device until completion.", "block_rq_issue, block_rq_complete";
    SYSCALL_TIME: Histogram = "process.syscall.duration", "ns", ["pid", "syscall"],
        "From entry to exit of the target's system calls, waiting included.", "sys_enter, sys_exit";

    SYSCALL_CPU: Series = "process.syscall.cpu_time", "s", ["pid", "syscall"],
        "CPU time inside system calls, waiting excluded, total.", "sys_enter, sys_exit, sched_switch";
    SYSCALL_ERRORS: Series = "process.syscall.errors", "{call}", ["pid", "syscall", "errno", "argument"],
        "Failed calls by error, with a recent path or address argument where the call has one, total.", "sys_exit";
    SYSCALL_EMPTY: Series = "process.syscall.empty_results", "{call}", ["pid", "syscall"],
        "Calls that returned 0 where the result counts something: bytes, ready descriptors, events; total.", "sys_exit";
    SYSCALL_BYTES: Series = "process.syscall.io", "By", ["pid", "syscall"],
        "Bytes moved by read- and write-like calls, total.", "sys_exit";
    SYSCALL_SOCKETS: Series = "process.syscall.on_sockets", "1", ["pid", "syscall"],
        "Part of the read- and write-like calls that were on sockets, from one call in 64.", "sys_exit";

    SYSCALL_TRACED: Series = "friday.syscalls.traced", "1", [],
        "Part of the window in which system calls were traced. Below 1, their counts and sums are scaled up to the whole window.",
        "friday";

    BLOCK_ISSUED: Series = "process.disk.io", "By", ["device", "direction", "pid"],
        "Bytes issued to a device by process, total.", "block_rq_issue";
    BLOCK_OPERATIONS: Series = "process.disk.operations", "{operation}", ["device", "direction", "pid"],
        "Requests issued to a device by process, total.", "block_rq_issue";
    BLOCK_TIME: Series = "process.disk.io_time", "s", ["device", "direction", "pid"],
        "Time requests of a process spent in the device, summed over requests, total.", "block_rq_issue, block_rq_complete";

    BLOCK_BEHIND: Series = "process.disk.queued_behind", "s", ["device", "pid", "behind"],
        "Time in which a process had requests in a device's queue while the device served another process' request, total.",
        "block_io_start, block_rq_issue, block_rq_complete";

    CPU_STACKS: Stack = "process.cpu.stacks", "{sample}", [],
        "On-CPU stacks at a fixed rate, user and kernel.", "perf_event cpu-clock";
    INTERPRETED_STACKS: Stack = "process.interpreted.stacks", "{look}", [],
        "Functions of Python programs (CPython 3.7 to 3.13), by looks at whoever holds the interpreter's lock, or held it last and runs, 50 a second. The thread is 0 where the version (before 3.11) or a container does not tell which of several it is.",
        "/proc/PID/mem, /proc/PID/task/TID/stat";
    KERNEL_SAMPLES: Series = "process.cpu.kernel_samples", "{sample}", ["pid", "for"],
        "On-CPU samples in the kernel by what it worked for: `fault`, `interrupt`, the name of a system call, or `other`; total.",
        "perf_event cpu-clock";
    SPIN_SAMPLES: Series = "process.cpu.spin_samples", "{sample}", ["pid", "function"],
        "On-CPU samples in user code that were taken beside an instruction made for waiting in a loop (PAUSE, YIELD), by function, total.",
        "perf_event cpu-clock, /proc/PID/mem";
    STACK_SETS: Series = "friday.stacks.weight", "1", ["set"],
        "What the user stacks of a set (`on-CPU`, in samples; `off-CPU` and `waker`, in seconds) stand for, total; of the target's processes, or of all when none is named.",
        "perf_event cpu-clock, sched_switch, sched_waking";
    STACK_ENDS: Series = "friday.stacks.unwound", "1", ["set", "end"],
        "Part of a set by how its user stacks end: `root`, `deep` (cut at the most frames that are kept), or why they are incomplete: `no table`, `fault`, `bad frame`, `unsupported`, `no registers`, `frame pointers only` (nobody knows whether the root was reached), `not taken`, `short wait`.",
        "perf_event cpu-clock, sched_switch, sched_waking";
    STACK_NAMES: Series = "friday.stacks.symbolized", "1", ["set", "why"],
        "Part of a set's frames, user and kernel, by why they have no name; an empty reason is the part that has one.",
        "ELF symbols, kallsyms, perf maps";
    PROCESS_STACKS: Series = "friday.stacks.process.unwound", "{stack}", ["pid", "end", "in"],
        "Different user stacks of a process, on CPU and blocked, by how they end (as in `friday.stacks.unwound`) and, of those that do not reach their root, in which module; of all processes but kernel threads.",
        "perf_event cpu-clock, sched_switch";
    PROCESS_FRAMES: Series = "friday.stacks.process.symbolized", "{frame}", ["pid", "why", "in"],
        "User frames of these stacks, by module and why they have no name; an empty reason counts those that have one.",
        "ELF symbols, perf maps";
    UNWIND_TABLES: Series = "friday.unwind.tables", "By", [],
        "Kernel memory of the tables by which user stacks are walked.", ".eh_frame of what runs";
    UNWIND_WITHOUT: Fact = "friday.unwind.without", "1", ["binary"],
        "Binaries that have no such table, and why: their code is walked by frame pointer.", ".eh_frame of what runs";
    THREAD_TIME: ThreadTime = "thread.time", "s", [],
        "The ledger: where 100 % of each thread's wall time went.", "sched_switch, sched_waking";
    WAITS: Wait = "thread.waits", "s", [],
        "Who waited for whom, for what, how long, with which code path.", "sched_switch, sched_waking";

    GOROUTINE_WAITS: Wait = "goroutine.lock.waits", "s", [],
        "Goroutines that waited for locks of Go's package sync, by lock and place in the code; of the target's processes, or of those that run, where they are Go programs with symbols.",
        "uprobes at sync.runtime_Semacquire*, runtime.readyWithTime";
    GOROUTINE_HOLDERS: Wait = "goroutine.lock.holders", "s", [],
        "The same waiting by where the lock was let go: all there was since it had been let go before.",
        "uprobes at sync.runtime_Semacquire*, runtime.readyWithTime";

    SPIN_TIME: Series = "process.lock.spin_time", "s", ["pid", "function"],
        "CPU time spent waiting for spin locks of the kernel, by the function that wanted the lock as far as the CPU profile tells (empty where it does not), total.",
        "contention_begin, contention_end, perf_event cpu-clock";

    TOPOLOGY: Series = "system.topology", "{link}", ["from", "to", "by", "what"],
        "What is joined with what, seen once in the window; ends are `process:812`, `peer:10.0.0.9`, `filesystem:/var`, `device:vda`, `interface:eth0`. By: `listens` (no other end; the address), `tcp` and `udp` (from who connected; the server's port), `unix` (the path), `pipe` (from who writes), `file` (`read` or `write`), `device`, `mount` (the type; to what it lies on), `layer` (volumes and partitions to what they lie on), `route` (by which interface packets to a peer leave). The value is how many there are: connections, pipes, open files.",
        "/proc/PID/fd, /proc/PID/fdinfo, sock_diag, /proc/PID/mountinfo, /sys/class/block, /sys/class/net, /proc/net/route, /proc/net/ipv6_route";
    TOPOLOGY_UNSEEN: Series = "friday.topology.unseen", "1", ["what"],
        "What is missing from it; no rows when nothing is: `processes` whose descriptors may not be read, `more_processes`, `more_descriptors`, `more_connections` and `more_links` beyond what is looked at, `ends` of connections within the machine whose process is not known, `namespaces` whose sockets could not be listed.",
        "friday";
    PROCESS_THREADS: Series = "process.thread.count", "{thread}", ["pid"],
        "Threads of each process, seen once in the window.", "/proc/PID/stat";
    PROCESS_STOPPED: Fact = "process.stopped", "1", ["pid", "tracer"],
        "Processes that a signal or a debugger has stopped (`stopped`), or that another process traces (`traced`; `tracer` is its id), seen once in the window.",
        "/proc/PID/status";

    NET_SCOPE: Fact = "friday.network.namespace", "1", ["name"],
        "The network namespace whose counters were read, and how many others there are; sockets are read in others too, and programs in the kernel see all of them.",
        "/proc/PID/ns/net";
    NET_IO: Series = "system.network.io", "By", ["device", "direction"],
        "Bytes by interface and direction (receive, transmit), cumulative; interfaces of the target's own namespace are named `target/eth0`.",
        "/proc/net/dev";
    NET_PACKETS: Series = "system.network.packet.count", "{packet}", ["device", "direction"],
        "Packets by interface and direction, cumulative.", "/proc/net/dev";
    NET_ERRORS: Series = "system.network.errors", "{error}", ["device", "direction"],
        "Packets with errors by interface and direction, cumulative.", "/proc/net/dev";
    NET_DROPPED: Series = "system.network.packet.dropped", "{packet}", ["device", "direction"],
        "Packets that an interface dropped, by direction, cumulative.", "/proc/net/dev";
    NET_PROTOCOL: Series = "system.network.protocol", "1", ["protocol", "counter"],
        "Counters of the protocols under the kernel's own names (Tcp RetransSegs, TcpExt ListenOverflows, Udp RcvbufErrors …), cumulative.",
        "/proc/net/snmp, /proc/net/netstat";
    LISTEN_QUEUE: Series = "system.network.listen.queue", "{connection}", ["address", "pid"],
        "Connections that wait to be accepted, by listening socket, sampled.", "sock_diag";
    LISTEN_BACKLOG: Series = "system.network.listen.backlog", "{connection}", ["address", "pid"],
        "How many may wait to be accepted, by listening socket, sampled.", "sock_diag";
    LISTEN_DROPS: Series = "system.network.listen.drops", "{packet}", ["address", "pid"],
        "Attempts to connect that a listening socket dropped, cumulative.", "sock_diag";
    LISTEN_OVERFLOWS: Series = "system.network.listen.overflows", "{connection}", [],
        "Attempts to connect that found an accept queue full, in all network namespaces whose sockets were read, total.",
        "/proc/PID/net/netstat";
    TCP_PORTS: Series = "system.network.tcp.ports", "{port}", ["namespace", "what"],
        "Of a network namespace, as the window ended: the ports that connections may be made from (`range`), TCP sockets whose ports rest after their use (`resting`), and all sockets together with those (`used`).",
        "net.ipv4.ip_local_port_range, /proc/PID/net/sockstat";
    TCP_ACCEPTED: Series = "system.network.tcp.accepted", "{connection}", ["local_port", "pid"],
        "Connections that came in, by port, total.", "inet_sock_set_state";
    TCP_ARRIVED: Series = "system.network.tcp.arrived", "By", ["local_port"],
        "What came in at a port that is listened on, over connections that have ended as well (for the kernel, an end is a byte), in all network namespaces whose sockets were read; total.",
        "sock_diag tcp_info, inet_sock_set_state";
    TCP_CONNECTING: Series = "process.network.tcp.connecting", "{connection}", ["pid", "peer"],
        "Connections that wait for the first answer of the other end, sampled.", "sock_diag";
    TCP_CONNECT: Histogram = "process.network.tcp.connect", "ns", ["pid", "peer"],
        "From the first segment until a connection is established, by process and the address it connects to.",
        "inet_sock_set_state";
    TCP_CONNECT_FAILED: Series = "process.network.tcp.connect_failed", "{connection}", ["pid", "peer", "why"],
        "Connections that were not made, by error; `given up` when the process closed it, `pending` when the window ended first (after a second at least); total.",
        "inet_sock_set_state";
    TCP_CONNECT_WASTED: Series = "process.network.tcp.connect_wasted", "s", ["pid", "peer", "why"],
        "Time until connections that were not made had failed, summed, total.", "inet_sock_set_state";
    TCP_RETRANSMITS: Series = "process.network.tcp.retransmits", "{segment}", ["pid", "local_port", "peer", "kind"],
        "Segments sent again, by kind: `timeout`, `fast`, `probe` (tail loss), `syn`, `synack`. A server's rows have its port and the peer's address, a client's the peer's address and port; total.",
        "tcp_retransmit_skb, tcp_retransmit_synack";
    TCP_RTO_WAIT: Series = "process.network.tcp.rto_wait", "s", ["pid", "local_port", "peer"],
        "Time for which connections stood still until the retransmission timer ran out, summed over connections, total.",
        "tcp_retransmit_skb";
    TCP_RTT: Series = "process.network.tcp.rtt", "s", ["pid", "local_port", "peer"],
        "Smoothed round-trip time of a connection, sampled.", "sock_diag tcp_info";
    TCP_MIN_RTT: Series = "process.network.tcp.min_rtt", "s", ["pid", "local_port", "peer"],
        "Shortest round-trip time of a connection in the last minutes, at its last reading.", "sock_diag tcp_info";
    TCP_LIMITED: Series = "process.network.tcp.limited", "s", ["pid", "local_port", "peer", "by"],
        "Time in which a connection had data to send (`busy`), and the parts of it in which the receiver's window (`receive_window`) or the send buffer (`send_buffer`) held it up, total.",
        "sock_diag tcp_info";
    TCP_SEGMENTS: Series = "process.network.tcp.segments", "{segment}", ["pid", "local_port", "peer", "what"],
        "Segments of a connection: with data, `retransmitted`, `sent`, `received` and `out_of_order` (came before others that belong in front of them) in the window; `unacknowledged` and `lost` at its last reading.",
        "sock_diag tcp_info";
    TCP_PEER_WINDOW: Series = "process.network.tcp.peer_window", "By", ["pid", "local_port", "peer"],
        "What the other end still takes, sampled.", "sock_diag tcp_info";
    TCP_WINDOW: Series = "process.network.tcp.window", "By", ["pid", "local_port", "peer"],
        "What this end offers to take, sampled.", "sock_diag tcp_info";
    TCP_IO: Series = "process.network.io", "By", ["pid", "local_port", "peer", "direction"],
        "Bytes of a connection: `transmit` as acknowledged by the other end, `receive`; total.", "sock_diag tcp_info";
    TCP_UNREAD: Series = "process.network.tcp.unread", "By", ["pid", "local_port", "peer", "peer_pid", "accepted"],
        "What came over connections and lay unread from the begin of the window to its end, nothing of it being read; of one that was not `accepted` the pid is that of who listens; total.",
        "sock_diag tcp_info";
    TCP_SILENT: Series = "process.network.tcp.silent", "s", ["pid", "local_port", "peer"],
        "For how long the other end of connections has acknowledged nothing, as the window ended, where something was sent again and again and nothing acknowledged in all of the window; total.",
        "sock_diag tcp_info";
    TCP_UNANSWERED: Series = "process.network.tcp.unanswered", "s", ["pid", "local", "peer"],
        "For how long, as the window ended, nothing has come over the only connection that a process has opened to another since it last sent something, all of which has been acknowledged; not of connections over which much is sent and little comes back; total.",
        "sock_diag tcp_info";
    UDP_DROPS: Series = "process.network.udp.drops", "{packet}", ["pid", "local_port"],
        "Datagrams dropped for want of room in a socket's receive buffer, or broken, total.", "sock_diag";
    PACKET_DROPS: Series = "system.network.packet.discarded", "{packet}", ["reason"],
        "Packets that the kernel threw away, by its own reason; those without a reason are left out; total.", "kfree_skb";
    DNS_LOOKUPS: Series = "process.network.dns.lookups", "{lookup}", ["pid", "server"],
        "Questions to name servers by UDP: sockets connected to port 53 and datagrams to it from sockets that are not, total.",
        "fib_table_lookup, fib6_table_lookup";
    DNS_TIME: Histogram = "dns.lookup.duration", "ns", ["pid", "server"],
        "From a question to a name server until its answer.", "";
    NET_SOCKETS: Series = "friday.network.sockets", "{socket}", ["what"],
        "TCP connections that were `read`, those with traffic whose rows are `kept`, and those with traffic that were `left out` for being too many.",
        "sock_diag";

    REQUESTS: Histogram = "process.request.duration", "ns", ["pid", "service"],
        "Requests as sockets show them: on a connection that was accepted (TCP, and unix stream sockets), from the first data that arrives until the last that is sent before more arrives; `service` is the port or path that is listened on, `pid` who read it. What is read at once, or before the first answer, is one request, as a pipelined batch; what is sent after a pause of a second is none of the answer. A handshake (TLS) is a request too, and where both ends talk when they like there are none to be told.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    REQUEST_TIME: Series = "process.request.time", "s", ["pid", "service", "part"],
        "How the time of these requests went: `queued` until they were read, then how the thread that had read them spent its time until it sent (`running`, `runnable`, `blocked`, whatever else it did meanwhile), and `elsewhere` where another thread sent than the one that had read or sent before; total.",
        "sk_data_ready, sock_recv_length, sock_send_length, sched_switch";
    REQUEST_COUNT: Series = "process.request.count", "{request}", ["pid", "service"],
        "Requests answered, cumulative, read once a second (less often in long windows); what was not followed is taken to be like what was.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    REQUEST_SECONDS: Series = "process.request.seconds", "s", ["pid", "service"],
        "Their time summed, cumulative, read at the same times; its rate is how many were in hand at once (Little's law).",
        "sk_data_ready, sock_recv_length, sock_send_length";
    PROCESS_CPU: Series = "process.cpu.time", "s", ["pid"],
        "CPU time of the target's processes and of those that answer requests, in clock ticks, cumulative, read at the same times.",
        "/proc/PID/stat";
    REQUEST_IO: Series = "process.request.io", "By", ["pid", "service", "direction"],
        "Bytes of these requests (`receive`) and of their answers (`transmit`), total.", "sock_recv_length, sock_send_length";
    REQUESTS_OPEN: Series = "process.request.in_flight", "{request}", ["pid", "service"],
        "Requests that were not answered when the window ended, those that nobody had read included. Data that nobody means to answer looks the same.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    REQUESTS_OPEN_AGE: Series = "process.request.in_flight.age", "s", ["pid", "service"],
        "For how long the oldest of these had waited since its last data arrived.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    UPSTREAM: Histogram = "process.upstream.duration", "ns", ["pid", "peer", "peer_pid", "service"],
        "Exchanges with others: on a connection that was opened, from the end of the first call that sends until the last data of the answer has arrived; `peer` is the address or path, `peer_pid` who answers there if that is a process of this machine. `service` is the one whose request the same thread had in hand as it asked: the last that it had read and not answered; empty outside of requests, and where another thread asks.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    UPSTREAM_IO: Series = "process.upstream.io", "By", ["pid", "peer", "peer_pid", "service", "direction"],
        "Bytes of these exchanges: `transmit` of questions, `receive` of answers, total.", "sock_recv_length, sock_send_length";
    UPSTREAM_OPEN: Series = "process.upstream.in_flight", "{request}", ["pid", "peer", "peer_pid", "service"],
        "Questions to others that were not answered when the window ended.",
        "sk_data_ready, sock_recv_length, sock_send_length";
    UPSTREAM_OPEN_AGE: Series = "process.upstream.in_flight.age", "s", ["pid", "peer", "peer_pid", "service"],
        "For how long the oldest of these had waited.", "sk_data_ready, sock_recv_length, sock_send_length";
    REQUESTS_TRACED: Series = "friday.requests.traced", "1", [],
        "Part of the window in which requests were followed. Below 1, counts and sums are scaled up to the whole window, each gap as if it had been like the slices beside it (a server at full speed is slower while it is followed: a redis' count came out 5 to 12 % low); requests in flight are those of its last slice, and what took longer than a slice of 100 ms was not seen then.",
        "friday";

    TRACER: Fact = "friday.tracer", "1", ["how", "state"],
        "What was attached for a moment to see whether it works on this machine, by state: `works`, `silent` (attached, and it told nothing), `refused` (no permission), `unsupported` (not in this kernel), `failed`; with what was seen, or why not.",
        "bpf, perf_event_open, /sys/kernel/tracing";
    TRACE_ENDPOINT: Fact = "friday.trace_endpoint", "1", ["variable", "process", "pid", "address", "state"],
        "Where spans are sent to (OTLP), by who is configured so; host and port only. By state: `accepts` a connection, `refused`, `silent`, `unresolved`, `untested`; with why.",
        "/proc/PID/environ";
    ACCESS: Fact = "friday.access", "1", ["name"],
        "What friday itself may do: `uid`, `capabilities`, `bounding`, `seccomp`, `seccomp_filters`, `no_new_privs`, `pid_namespace` and `user_namespace` (`machine` or `own`), `container`, `program`.",
        "/proc/self/status, /proc/self/ns";
    BINARY: Series = "process.binary", "{sample}", ["path", "build_id", "debug", "package", "version", "source", "tree", "why"],
        "The binaries with most CPU samples, and how many: build-id, file with debug information, package, source package and its version, folder it was compiled in; `why` says what could not be asked.",
        "CPU profile, ELF, dpkg, rpm, apk, pacman";

    TOOL_READING: Series = "friday.health.reading", "1", ["tool", "input", "key"],
        "Numbers that health tools had read for them, by the tool, the name of the input and, where it has several, of the value; at the begin and at the end.",
        "files and commands that health tools name";
    TOOL_TEXT: Fact = "friday.health.text", "1", ["tool", "input", "key"],
        "The same of what is no number; when the window ended.",
        "files and commands that health tools name";
    TOOL_ABSENT: Fact = "friday.health.absent", "1", ["tool", "input"],
        "Why a health tool's input could not be read, as JSON.",
        "files and commands that health tools name";
    TOOL_RULE: Fact = "friday.health.rule", "1", ["tool"],
        "Health tools that are files, other than those that friday brings: their text.",
        "health.d";
    TOOL_VERDICT: Fact = "friday.health.verdict", "1", ["tool"],
        "What health tools that are programs said, as JSON.",
        "friday-health-*";

    COARSE_LEDGER: Series = "thread.time.coarse", "1", [],
        "Present when the ledger comes from looking at the threads a few times a second: running and runnable time are exact, the split of blocked time is sampled, and nothing is known of wakers and neighbours.",
        "/proc/PID/task/TID/schedstat, BPF task iterator";

    PROCESS_FAULTS: Series = "process.paging.faults", "{fault}", ["pid", "type"],
        "Page faults by type (minor, major), of all threads that lived in the window, total.",
        "task_struct min_flt and maj_flt, /proc/PID/stat";
    FAULT_ACCESSES: Series = "process.memory.fault.accesses", "{fault}", ["pid", "access"],
        "Page faults by what was asked for: read, write, execute, or protected (the page was there, but not for that: shared until the first write, mostly); estimated from samples, total.",
        "page_fault_user, page_fault_kernel";
    FAULT_STACKS: Stack = "process.memory.fault.stacks", "{fault}", [],
        "User stacks that took page faults, weighted by the faults each sample stands for.",
        "page_fault_user, page_fault_kernel";
    FAULTS_TRACED: Series = "friday.faults.traced", "1", [],
        "Part of the window in which page faults were traced. Below 1, their stacks and accesses are scaled up to what the kernel counted for each thread.",
        "friday";
    RECLAIM_TIME: Histogram = "process.memory.reclaim.duration", "ns", ["pid", "kind", "cgroup"],
        "For how long a process had to make memory free before it got any, by kind: direct (the machine is short), cgroup (its memory group, which is named, is at its limit), compaction (no free block is large enough).",
        "mm_vmscan_direct_reclaim_begin and _end, mm_vmscan_memcg_reclaim_begin and _end, mm_compaction_begin and _end";
    OOM_KILL: Event = "process.memory.oom_kill", "{kill}", ["name", "asking", "asking_name", "cgroup"],
        "The kernel chose a process to kill for want of memory: its memory group, and who had asked for memory.", "mark_victim";
    MEMORY_USAGE: Series = "process.memory.usage", "By", ["pid", "kind"],
        "Resident memory by kind (anonymous, file, shared) and swapped-out memory (swap): of the target and the largest processes every two seconds, of all others at begin and end.",
        "/proc/PID/status";

    CGROUP_LIMIT: Fact = "cgroup.limit", "1", ["cgroup", "name"],
        "Limits and weights of control groups, by the name of version 2's file (memory.max, memory.high, pids.max, cpu.weight) or version 1's: of the target's groups and of those that have a limit of memory or processes.",
        "memory.max, memory.high, memory.limit_in_bytes, pids.max, cpu.weight, cpu.shares";
    CGROUP_MEMORY: Series = "cgroup.memory.usage", "By", ["cgroup"],
        "Memory charged to the same groups, sampled.", "memory.current, memory.usage_in_bytes";
    CGROUP_PIDS: Series = "cgroup.pids.usage", "{thread}", ["cgroup"],
        "Threads in the same groups, sampled.", "pids.current";
    CGROUP_EVENTS: Series = "cgroup.events", "{event}", ["cgroup", "event"],
        "How often a limit acted: memory.high, memory.max (the limit was hit and memory made free), memory.oom, memory.oom_kill, pids.max (a fork was refused); and memory.refault_file: file pages of the group and those below it that were read again soon after they were evicted; cumulative.",
        "memory.events, memory.failcnt, memory.oom_control, memory.stat, pids.events";
    CGROUP_MEMBER: Fact = "cgroup.member", "1", ["cgroup", "pid"],
        "Which processes are in which groups of version 1's memory, pids and blkio hierarchies; root groups are left out.",
        "cgroup.procs";
    CGROUP_IO_LIMIT: Fact = "cgroup.io.limit", "1", ["cgroup", "device", "limit"],
        "I/O limits of control groups, by device, under version 2's names: rbps, wbps, riops, wiops.",
        "io.max (v2), blkio.throttle.read_bps_device and its like (v1)";
    CGROUP_IO: Series = "cgroup.io", "1", ["cgroup", "device", "limit"],
        "What groups with an I/O limit did under it, by the limit: bytes for rbps and wbps, requests for riops and wiops, cumulative.",
        "io.stat (v2), blkio.throttle.io_service_bytes and io_serviced (v1)";
    CGROUP_PRESSURE: Series = "cgroup.pressure.time", "s", ["cgroup", "resource", "kind"],
        "Time in which some or all non-idle tasks of the same groups were stalled on cpu, io or memory, cumulative.",
        "cpu.pressure, io.pressure, memory.pressure";

    PROCESS_EXIT: Event = "process.exit", "s", ["name", "parent", "parent_name", "exec", "code", "signal"],
        "A process ended; the value is its life span in seconds.", "sched_process_exec, sched_process_exit";
    SLOW_RUN_QUEUE: Event = "process.cpu.run_queue_wait.outlier", "s", ["name", "behind"],
        "A wait for a CPU above the outlier threshold.", "sched_switch";
    SLOW_BLOCK_IO: Event = "system.disk.request_latency.outlier", "s", ["device", "direction", "name"],
        "A block request above the outlier threshold.", "block_rq_complete";
    SLOW_SYSCALL: Event = "process.syscall.duration.outlier", "s", ["name", "syscall"],
        "A system call of the target above the outlier threshold, idle waits excluded.", "sys_exit";

    EXPERIMENT: Fact = "friday.experiment", "1", ["cause", "victim", "culprit"],
        "What was tried after the window, and what it did to the victim: JSON, as `observe::Experiment` describes it.",
        "/proc/PID/task/TID/schedstat and stat, /proc/PID/io";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lower_case() {
        let mut names: Vec<_> = ALL.iter().map(|e| e.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c))));
    }
}
