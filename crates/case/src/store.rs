//! Writes a case folder in one go, and reads one back.

use crate::{
    Document, Error, SCHEMA,
    meta::{self, Meta, Seen},
    place,
    shapes::{Columns, Context, Stored, frames_from, frames_to, processes_from, processes_to},
    table::{self, Table},
};
use observe::{Episode, Event, Fact, Histogram, Recording, Request, Series, Stack, ThreadTime, Wait};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The name of the document in a case folder.
pub(crate) const DOCUMENT: &str = "case.json";
const RECORDING: &str = "recording";
const META: &str = "meta.json";
/// In the order in which they are put in place: what makes the folder a case comes last.
const ENTRIES: [&str; 4] = [RECORDING, "cpu.folded", "report.html", DOCUMENT];

/// Files of a case that others make.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `report.html`.
    pub html: &'a str,
    /// `cpu.folded`.
    pub cpu_folded: &'a str,
}

/// Writes a case into a folder that does not exist, is empty, or is a case, which is then replaced (files in it that
/// are not friday's stay). The parts are written aside and renamed at the end, so that nobody meets half a case.
///
/// # Errors
/// The folder is taken or cannot be written; what was written so far is removed, and an older case is still there.
pub fn save(dir: &Path, document: &Document, recording: &Recording, files: Files<'_>) -> Result<(), Error> {
    place::check_free(dir)?;
    let exists = dir.exists();
    let partial = partial_of(dir, exists);
    let done = write_all(&partial, document, recording, files)
        .and_then(|()| if exists { put_in_place(&partial, dir) } else { rename(&partial, dir) });
    if done.is_err() || exists {
        // Nothing more can be done about it, and the first error is the one to tell.
        let _ = fs::remove_dir_all(&partial);
    }
    done
}

/// Where the parts are written: beside a new folder, inside one that exists (it may be a mount point).
fn partial_of(dir: &Path, exists: bool) -> PathBuf {
    if exists {
        return dir.join(format!(".partial-{}", std::process::id()));
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.partial-{}", std::process::id()))
}

fn write_all(into: &Path, document: &Document, recording: &Recording, files: Files<'_>) -> Result<(), Error> {
    let tables = into.join(RECORDING);
    fs::create_dir_all(&tables).map_err(|source| Error::Write { path: tables.clone(), source })?;
    let mut meta = Meta::of(recording);
    write_table(&tables, "frames", frames_to(&recording.frames))?;
    write_table(&tables, "processes", processes_to(&recording.processes))?;
    write_shape::<Fact>(&tables, recording, &mut meta)?;
    write_shape::<Series>(&tables, recording, &mut meta)?;
    write_shape::<Histogram>(&tables, recording, &mut meta)?;
    write_shape::<Stack>(&tables, recording, &mut meta)?;
    write_shape::<ThreadTime>(&tables, recording, &mut meta)?;
    write_shape::<Wait>(&tables, recording, &mut meta)?;
    write_shape::<Event>(&tables, recording, &mut meta)?;
    write_shape::<Episode>(&tables, recording, &mut meta)?;
    write_shape::<Request>(&tables, recording, &mut meta)?;
    write_json(&tables.join(META), &meta)?;
    write_text(&into.join("cpu.folded"), files.cpu_folded)?;
    write_text(&into.join("report.html"), files.html)?;
    write_json(&into.join(DOCUMENT), &document.finite())
}

fn write_shape<S: Stored>(dir: &Path, recording: &Recording, meta: &mut Meta) -> Result<(), Error> {
    let tables = recording.tables::<S>();
    meta.note(tables);
    write_table(dir, S::NAME, S::columns(tables))
}

fn table_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.parquet"))
}

fn write_table(dir: &Path, name: &str, columns: Columns) -> Result<(), Error> {
    let path = table_path(dir, name);
    table::write(&path, &columns).map_err(|source| Error::WriteTable { path, source })
}

fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|source| Error::Encode { path: path.to_owned(), source })?;
    write_text(path, &(text + "\n"))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::Write { path: to.to_owned(), source })
}

/// Moves the parts up into the folder. The document goes first and comes last: without it the folder is no case.
fn put_in_place(partial: &Path, dir: &Path) -> Result<(), Error> {
    let old = partial.join("old");
    fs::create_dir_all(&old).map_err(|source| Error::Write { path: old.clone(), source })?;
    let done = ENTRIES
        .iter()
        .rev()
        .try_for_each(|entry| match fs::rename(dir.join(entry), old.join(entry)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Write { path: dir.join(entry), source })
            }
            _ => Ok(()),
        })
        .and_then(|()| ENTRIES.iter().try_for_each(|entry| rename(&partial.join(entry), &dir.join(entry))));
    if done.is_err() {
        for entry in ENTRIES {
            if old.join(entry).exists() {
                let _ = fs::rename(dir.join(entry), partial.join(entry));
                let _ = fs::rename(old.join(entry), dir.join(entry));
            }
        }
    }
    done
}

/// Reads a case.
///
/// # Errors
/// The folder is not a case, was written by a newer friday, or is damaged; the error names the file.
pub fn load(dir: &Path) -> Result<(Document, Recording), Error> {
    let document = load_document(dir)?;
    let tables = dir.join(RECORDING);
    let path = tables.join(META);
    let text = read_text(&path)?;
    check_schema(&text, &path, meta::SCHEMA, || Error::NotACase { path: tables.clone() })?;
    let meta: Meta = parse(&text, &path)?;
    let mut recording = meta.recording();

    let named = |name| {
        let path = table_path(&tables, name);
        Table::read(&path).map(|table| (table, path.clone())).map_err(|source| Error::Table { path, source })
    };
    let (table, path) = named("frames")?;
    recording.frames = frames_from(&table).map_err(|source| Error::Table { path, source })?;
    let (table, path) = named("processes")?;
    recording.processes = processes_from(&table).map_err(|source| Error::Table { path, source })?;

    let mut reader = Reader { tables: &tables, meta: &meta, recording: &mut recording };
    reader.read_shape::<Fact>()?;
    reader.read_shape::<Series>()?;
    reader.read_shape::<Histogram>()?;
    reader.read_shape::<Stack>()?;
    reader.read_shape::<ThreadTime>()?;
    reader.read_shape::<Wait>()?;
    reader.read_shape::<Event>()?;
    reader.read_shape::<Episode>()?;
    reader.read_shape::<Request>()?;
    Ok((document, recording))
}

/// Reads only what a case concludes.
///
/// # Errors
/// The folder is not a case, was written by a newer friday, or its `case.json` is damaged.
pub fn load_document(dir: &Path) -> Result<Document, Error> {
    read_document(dir)
}

/// Reads `case.json`, or the part of it that the type asks for.
pub(crate) fn read_document<T: DeserializeOwned>(dir: &Path) -> Result<T, Error> {
    let path = dir.join(DOCUMENT);
    let not_a_case = || Error::NotACase { path: dir.to_owned() };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(not_a_case());
        }
        Err(source) => return Err(Error::Read { path, source }),
    };
    check_schema(&text, &path, SCHEMA, not_a_case)?;
    parse(&text, &path)
}

fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Json { path: path.to_owned(), source })
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    schema: String,
}

/// Accepts `known` and fields added to it; refuses another version and what is not ours.
fn check_schema(text: &str, path: &Path, known: &'static str, foreign: impl Fn() -> Error) -> Result<(), Error> {
    let Schema { schema } = parse(text, path)?;
    let family = known.split_once('/').map_or(known, |(family, _)| family);
    match schema.split_once('/') {
        _ if schema == known => Ok(()),
        Some((name, _)) if name == family => Err(Error::Newer { path: path.to_owned(), found: schema, known }),
        _ => Err(foreign()),
    }
}

struct Reader<'a> {
    tables: &'a Path,
    meta: &'a Meta,
    recording: &'a mut Recording,
}

impl Reader<'_> {
    fn read_shape<S: Stored>(&mut self) -> Result<(), Error> {
        let Some(metrics) = self.meta.metrics.get(S::NAME) else { return Ok(()) };
        let path = table_path(self.tables, S::NAME);
        let context = Context { frames: self.recording.frames.len() };
        let mut rows = Table::read(&path)
            .and_then(|table| S::rows(&table, context))
            .map_err(|source| Error::Table { path, source })?;
        for (name, seen) in metrics {
            let rows = match seen {
                Seen::Rows(_) => Ok(rows.remove(name).unwrap_or_default()),
                Seen::Absent(why) => Err(why.clone()),
            };
            self.recording.restore::<S>(name, rows);
        }
        Ok(())
    }
}
