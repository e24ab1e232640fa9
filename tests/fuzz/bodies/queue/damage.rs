//! Damage that an input does to files before they are opened.

use std::collections::BTreeMap;
use std::path::Path;

use nsq_replay::Input;

/// The files of a folder, by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) fn write(files: &Files, folder: &Path) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a temporary file");
    }
}

pub(super) fn read(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).expect("a temporary folder");
    entries
        .map(|entry| {
            let entry = entry.expect("a folder's entry");
            let bytes = std::fs::read(entry.path()).expect("a temporary file");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

/// Changes bytes or the length of a file.
pub(super) fn spoil(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.byte();
    let at = usize::from(input.short()) % (bytes.len() + 1);
    match kind % 5 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (input.byte() % 8);
            }
        }
        1 => {
            for (byte, new) in bytes[at..].iter_mut().zip(input.part()) {
                *byte = *new;
            }
        }
        2 => bytes.truncate(at),
        3 => {
            let end = bytes.len().min(at + usize::from(input.short()));
            bytes[at..end].fill(0);
        }
        _ => {
            let part = input.part();
            bytes.truncate(at);
            bytes.extend_from_slice(part);
        }
    }
}
