//! Values exchanged with the kernel side: plain structures, and whole maps of them.

use super::types;
use libbpf_rs::{MapCore, MapFlags};
use std::mem::{size_of, size_of_val};

/// A plain value that the kernel side writes and any bytes of which are valid.
///
/// # Safety
/// The type must have no padding that matters, no pointer and no invalid bit pattern.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {
        // SAFETY: integers and arrays of integers only.
        $(unsafe impl Plain for $name {})*
    };
}

plain!(
    u8,
    u32,
    u64,
    types::wait_key,
    types::wait_value,
    types::blame_key,
    types::blame_value,
    types::kernel_stack,
    types::user_stack,
    types::hist,
    types::thread_times,
    types::sample_key,
    types::call_key,
    types::call_value,
    types::error_key,
    types::error_value,
    types::block_key,
    types::behind_key,
    types::block_value,
    types::file_key,
    types::file_name,
    types::event,
    types::fault_key,
    types::fault_clock,
    types::interrupts,
    types::reclaim_key,
    types::place,
    types::snapshot,
    types::episode,
    types::seen_episode,
    types::resend_key,
    types::resend_value,
    types::connect_key,
    types::connecting,
    types::connect_failures,
    types::accept_key,
    types::request_key,
    types::request_value,
    types::request_end,
    types::request_open,
    types::request_span,
    types::goroutine_key,
    types::goroutine_wait,
    types::goroutine_row_key,
    types::goroutine_row,
    types::goroutine_cpu,
    types::unwind_row,
    types::unwind_range,
    types::unwind_process,
);

/// Reads a plain value from the front of some bytes.
pub(crate) fn plain<T: Plain>(bytes: &[u8]) -> Option<T> {
    (bytes.len() >= size_of::<T>()).then(|| {
        // SAFETY: the length was checked and any bytes are a valid `T`.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    })
}

/// The bytes of plain values.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: the values are initialized, without padding that matters, and borrowed for as long.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A C string in a fixed array, lossily.
pub(crate) fn text(bytes: &[i8]) -> String {
    let bytes: Vec<u8> = bytes.iter().take_while(|b| **b != 0).map(|b| *b as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every row of a hash map. Read in one batch of the map's size: the kernel ends a smaller batch early where the next
/// bucket does not fit, which libbpf-rs 0.27.2 takes for the end of the map. Memory that is not filled is not touched.
pub(crate) fn rows<K: Plain, V: Plain>(map: &impl MapCore) -> Vec<(K, V)> {
    if let Ok(batch) = map.lookup_batch(map.max_entries(), MapFlags::ANY, MapFlags::ANY) {
        return batch.filter_map(|(key, value)| Some((plain(&key)?, plain(&value)?))).collect();
    }
    map.keys()
        .filter_map(|key| {
            let value = map.lookup(&key, MapFlags::ANY).ok()??;
            Some((plain(&key)?, plain(&value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use libbpf_rs::{MapHandle, MapType};

    #[test]
    #[ignore = "live: needs root and BPF"]
    fn live_every_row_of_a_large_map_is_read() {
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let map = MapHandle::create(MapType::Hash, Some("rows"), 8, 8, 32768, &options).expect("a map");
        for n in 0..20_000u64 {
            map.update(&n.to_ne_bytes(), &(n * 3).to_ne_bytes(), MapFlags::ANY).expect("room");
        }
        let mut read: Vec<(u64, u64)> = rows(&map);
        read.sort_unstable();
        assert_eq!(read.len(), 20_000);
        assert!(read.iter().enumerate().all(|(n, row)| *row == (n as u64, n as u64 * 3)));
    }
}
