//! What a disk may look like after the power was cut.
//!
//! What is synced stays. Of what was written to a file since its last sync, anything may be there: all, nothing, a part, in
//! any order, writes cut at sectors, zeros where the length came through and the data did not. Changes of directories come
//! through in their order, as journals keep it, at least up to the last one that a sync of the directory covers; a sync of
//! a file says nothing about its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::shim::Op;

const SECTOR: usize = 512;

/// Steele, Lea and Flood's SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    is_dir: bool,
    synced: Vec<u8>,
    /// Since the last sync.
    changes: Vec<Change>,
}

/// A change of the tree: what a name stands for from then on.
#[derive(Debug, Clone)]
struct Naming {
    dirs: Vec<PathBuf>,
    names: Vec<(PathBuf, Option<usize>)>,
}

/// The disk of a computer that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    inodes: Vec<Inode>,
    /// The tree as it is for programs.
    tree: BTreeMap<PathBuf, usize>,
    /// The tree as it is on the disk for certain.
    safe: BTreeMap<PathBuf, usize>,
    /// What happened to the tree since.
    namings: Vec<Naming>,
}

/// What became of the writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    /// A different fate for each file, and for each write of a file.
    Mixed,
}

impl Disk {
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path) => self.create(path, false),
            Op::Mkdir(path) => self.create(path, true),
            Op::Write(path, at, bytes) => {
                let at = usize::try_from(*at).unwrap();
                self.file(path).changes.push(Change::Write(at, bytes.clone()));
            }
            Op::Truncate(path, length) => {
                let length = usize::try_from(*length).unwrap();
                self.file(path).changes.push(Change::Truncate(length));
            }
            Op::Sync(path) => self.sync(path),
            Op::Rename(from, to) => {
                let below: Vec<(PathBuf, usize)> =
                    self.tree.iter().filter(|(path, _)| path.starts_with(from)).map(|(p, i)| (p.clone(), *i)).collect();
                let mut names = Vec::new();
                for (path, inode) in below {
                    let rest = path.strip_prefix(from).unwrap();
                    let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    names.extend([(path, None), (new, Some(inode))]);
                }
                self.name(Naming { dirs: vec![parent(from), parent(to)], names });
            }
            Op::Remove(path) => self.name(Naming { dirs: vec![parent(path)], names: vec![(path.clone(), None)] }),
        }
    }

    fn create(&mut self, path: &Path, is_dir: bool) {
        self.inodes.push(Inode { is_dir, ..Inode::default() });
        let inode = self.inodes.len() - 1;
        self.name(Naming { dirs: vec![parent(path)], names: vec![(path.to_owned(), Some(inode))] });
    }

    fn name(&mut self, naming: Naming) {
        put(&mut self.tree, &naming);
        self.namings.push(naming);
    }

    fn file(&mut self, path: &Path) -> &mut Inode {
        let inode = self.tree[path];
        &mut self.inodes[inode]
    }

    fn sync(&mut self, path: &Path) {
        let is_dir = path.as_os_str().is_empty() || self.file(path).is_dir;
        if is_dir {
            let last = self.namings.iter().rposition(|naming| naming.dirs.iter().any(|dir| dir == path));
            for naming in self.namings.drain(..last.map_or(0, |last| last + 1)) {
                put(&mut self.safe, &naming);
            }
        } else {
            let inode = self.file(path);
            let changes = std::mem::take(&mut inode.changes);
            changes.iter().for_each(|change| apply(&mut inode.synced, change));
        }
    }

    /// Cuts the power, and puts what is left into a new directory.
    pub(crate) fn cut(&self, fate: Fate, random: &mut Random, into: &Path) {
        let through = match fate {
            Fate::Kept => self.namings.len(),
            Fate::Lost => 0,
            Fate::Mixed => random.below(self.namings.len() + 1),
        };
        let mut tree = self.safe.clone();
        self.namings[..through].iter().for_each(|naming| put(&mut tree, naming));
        fs::create_dir_all(into).unwrap();
        for (path, inode) in &tree {
            let inode = &self.inodes[*inode];
            if inode.is_dir {
                fs::create_dir(into.join(path)).unwrap();
            } else {
                fs::write(into.join(path), contents(inode, fate, random)).unwrap();
            }
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn put(tree: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    for (path, inode) in &naming.names {
        match inode {
            Some(inode) => tree.insert(path.clone(), *inode),
            None => tree.remove(path),
        };
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        Change::Truncate(length) => bytes.resize(*length, 0),
    }
}

fn contents(inode: &Inode, fate: Fate, random: &mut Random) -> Vec<u8> {
    let mut bytes = inode.synced.clone();
    match fate {
        Fate::Kept => inode.changes.iter().for_each(|change| apply(&mut bytes, change)),
        Fate::Lost => {}
        Fate::Mixed => {
            let all = inode.changes.len();
            match random.below(4) {
                0 => inode.changes[..random.below(all + 1)].iter().for_each(|change| apply(&mut bytes, change)),
                // The disk was busy with the last of them.
                1 => {
                    inode.changes.iter().rev().skip(1).rev().for_each(|change| apply(&mut bytes, change));
                    inode.changes.last().into_iter().for_each(|change| tear(&mut bytes, change, random));
                }
                2 => inode.changes.iter().filter(|_| random.coin()).for_each(|change| apply(&mut bytes, change)),
                _ => {
                    // The length is through, of the data something.
                    let mut whole = inode.synced.clone();
                    inode.changes.iter().for_each(|change| apply(&mut whole, change));
                    for change in &inode.changes {
                        tear(&mut bytes, change, random);
                    }
                    bytes.resize(whole.len(), 0);
                }
            }
        }
    }
    bytes
}

/// Some sectors of a write.
fn tear(bytes: &mut Vec<u8>, change: &Change, random: &mut Random) {
    let Change::Write(at, new) = change else { return apply(bytes, change) };
    let mut from = 0;
    while from < new.len() {
        let to = ((at + from) / SECTOR * SECTOR + SECTOR - at).min(new.len());
        if random.coin() {
            apply(bytes, &Change::Write(at + from, new[from..to].to_vec()));
        }
        from = to;
    }
}
