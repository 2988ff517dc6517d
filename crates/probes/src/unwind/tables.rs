//! The rows of all binaries, in chunks of kernel memory that are made when they are needed.

use super::{Maps, rules};
use crate::bpf::{bytes_of, types, types::unwind_limit as Limit};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
};
use symbolize::unwind::{Backed, Image, NoTable, Table};

const ROWS: usize = Limit::UNWIND_CHUNK_ROWS.0 as usize;
const CHUNKS: usize = Limit::UNWIND_CHUNKS.0 as usize;

/// ours: a megabyte is what an ordinary process's libraries need.
const AHEAD: usize = 16;

/// Where a binary's rows are, and what they count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub base: u64,
    pub first: u32,
    pub rows: u32,
}

/// What is known of a binary.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its rows, or why there are none.
    pub placed: Result<Placed, NoTable>,
    /// What its addresses are computed from.
    pub image: Rc<Image>,
}

/// Every binary's rows.
#[derive(Default)]
pub(super) struct Tables {
    by_file: HashMap<Backed, Known>,
    /// The same library in two containers is two files with one fingerprint.
    by_build_id: HashMap<Vec<u8>, Known>,
    /// Rows of the chunk that is being filled.
    open: Vec<types::unwind_row>,
    /// It and those to be filled next.
    empty: VecDeque<MapHandle>,
    /// Chunks before the open one.
    full: usize,
}

impl Tables {
    /// What is known of a file. The vdso is no file: it is found by its fingerprint.
    pub fn by_file(&self, backed: &Backed) -> Option<&Known> {
        self.by_file.get(backed).filter(|_| *backed != Backed::Vdso)
    }

    /// What is known of a fingerprint.
    pub fn by_build_id(&self, build_id: &[u8]) -> Option<&Known> {
        self.by_build_id.get(build_id).filter(|_| !build_id.is_empty())
    }

    /// Notes what is known of a binary.
    pub fn remember(&mut self, backed: &Backed, known: &Known) {
        if !known.image.build_id().is_empty() {
            self.by_build_id.entry(known.image.build_id().to_vec()).or_insert_with(|| known.clone());
        }
        self.by_file.insert(backed.clone(), known.clone());
    }

    /// Rows in all.
    fn rows(&self) -> usize {
        self.full * ROWS + self.open.len()
    }

    /// Kernel memory in all.
    pub fn bytes(&self) -> usize {
        (self.full + self.empty.len()) * ROWS * size_of::<types::unwind_row>()
    }

    /// Gives a table to the kernel side. [`NoTable::TooLarge`] when there is no room.
    pub fn place(&mut self, maps: &Maps, table: &Table) -> Result<Placed, NoTable> {
        let count = table.rows().len();
        if self.rows() + count > ROWS * CHUNKS {
            return Err(NoTable::TooLarge);
        }
        let first = self.rows();
        let failed = |error: libbpf_rs::Error| NoTable::Unreadable(format!("its table was refused: {error}"));
        let needed = (self.open.len() + count).div_ceil(ROWS);
        if needed > self.empty.len() {
            let more = (needed - self.empty.len()).max(AHEAD).min(CHUNKS - self.full - self.empty.len());
            self.grow(maps, more).map_err(failed)?;
        }
        for row in table.rows() {
            self.open.push(types::unwind_row { pc: row.pc, rule: rules::packed(row.rule) });
            if self.open.len() == ROWS {
                self.write(maps).map_err(failed)?;
                self.empty.pop_front();
                self.open.clear();
                self.full += 1;
            }
        }
        if !self.open.is_empty() {
            self.write(maps).map_err(failed)?;
        }
        Ok(Placed { base: table.base(), first: first as u32, rows: count as u32 })
    }

    /// Writes the open chunk; the rows that were there before are written as they were.
    fn write(&mut self, maps: &Maps) -> libbpf_rs::Result<()> {
        let Some(chunk) = self.empty.front() else { return Ok(()) };
        let mut rows = self.open.clone();
        rows.resize(ROWS, types::unwind_row::default());
        chunk.update(&0u32.to_ne_bytes(), bytes_of(&rows), MapFlags::ANY)?;
        maps.firsts.update(&(self.full as u32).to_ne_bytes(), &rows[0].pc.to_ne_bytes(), MapFlags::ANY)
    }

    /// Makes chunks and shows them to the kernel side: all at once, as the kernel waits after each such call until nobody
    /// can see what was there before, for some ten milliseconds.
    fn grow(&mut self, maps: &Maps, count: usize) -> libbpf_rs::Result<()> {
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let size = (ROWS * size_of::<types::unwind_row>()) as u32;
        let new = (0..count)
            .map(|_| MapHandle::create(MapType::Array, Some("unwind_chunk"), 4, size, 1, &options))
            .collect::<libbpf_rs::Result<Vec<MapHandle>>>()?;
        let from = (self.full + self.empty.len()) as u32;
        let keys: Vec<u32> = (from..from + count as u32).collect();
        let values: Vec<u32> = new.iter().map(|chunk| chunk.as_fd().as_raw_fd() as u32).collect();
        let all =
            maps.chunks.update_batch(bytes_of(&keys), bytes_of(&values), count as u32, MapFlags::ANY, MapFlags::ANY);
        if all.is_err() {
            // Before 5.17 one by one.
            for (key, value) in keys.iter().zip(&values) {
                maps.chunks.update(&key.to_ne_bytes(), &value.to_ne_bytes(), MapFlags::ANY)?;
            }
        }
        self.empty.extend(new);
        Ok(())
    }
}
