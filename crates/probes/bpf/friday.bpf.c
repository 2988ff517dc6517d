// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * The one BPF object of friday: the probes share task storage and stack tables, so they are loaded together.
 * A program that this kernel refuses is left out and its metrics say so.
 */
#include "common.bpf.h"
#include "maps.bpf.h"
#include "unwind.bpf.h"
#include "../src/sched/blocked.bpf.h"
#include "../src/stream/episodes.bpf.h"
#include "../src/sched/interrupts.bpf.c"
#include "../src/sched/ledger.bpf.c"
#include "../src/sched/locks.bpf.c"
#include "../src/cpu/profile.bpf.c"
#include "../src/block/requests.bpf.c"
#include "../src/syscalls/calls.bpf.c"
#include "../src/process/lifecycle.bpf.c"
#include "../src/memory/faults.bpf.c"
#include "../src/memory/reclaim.bpf.c"
#include "../src/net/tcp.bpf.c"
#include "../src/net/dns.bpf.c"
#include "../src/requests/requests.bpf.c"
#include "../src/goroutines/locks.bpf.c"

/* The kernel offers the helpers used here to GPL-compatible programs only. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
