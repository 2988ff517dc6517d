//! Micro-benchmarks: bounded in time and volume, and judged against what this machine or its class does.
