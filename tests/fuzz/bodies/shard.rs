//! Fuzz bodies of nsq-shard: proposals.

use crate::codec::{self, CommandError, Item, ProposalReader};

/// A proposal as another node may have written it. It is read or refused; what is read is written and read again, and is the
/// same.
pub fn proposal(bytes: &[u8]) {
    let Some((term, read)) = read(bytes) else {
        return;
    };
    let mut written = Vec::new();
    codec::begin(&mut written, term);
    written.extend_from_slice(&read.written);
    let (same_term, again) = self::read(&written).expect("it was written here");
    assert_eq!(term, same_term);
    assert_eq!(read.printed, again.printed);
}

#[derive(Default)]
struct Read {
    printed: Vec<String>,
    written: Vec<u8>,
}

fn read(bytes: &[u8]) -> Option<(u64, Read)> {
    let proposal = ProposalReader::new(bytes).ok()?;
    let mut read = Read::default();
    let outcome: Result<(), CommandError<()>> = proposal.read(|item| {
        read.printed.push(format!("{item:?}"));
        match item {
            Item::Command(command) => codec::put_command(&mut read.written, &command),
            Item::Followed(index) => codec::put_followed(&mut read.written, index),
        }
        Ok(())
    });
    outcome.ok()?;
    Some((proposal.term(), read))
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn proposals_of_the_corpus() {
        replay("proposal", super::proposal);
    }
}
