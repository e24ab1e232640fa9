//! What `nsqd --cluster-recover` leaves next to the identity.
//!
//! ```text
//! recovering   from the first change until the last: a node that finds it does not start before it was recovered again
//! former       the clusters that this one was recovered from
//! ```

use std::io;
use std::path::Path;

use crate::codec::{DecodeError, Decoder, Wire, put_count};
use crate::identity::ClusterId;
use crate::wal::small_file::{self, explain, sync_folder};

/// A recovery that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovering {
    /// The cluster whose majority is lost.
    pub from: ClusterId,
    /// The one that it becomes.
    pub to: ClusterId,
}

impl Recovering {
    /// The recovery that was begun in the folder `cluster` of a data path, and not finished.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the file is damaged, otherwise when it cannot be read now.
    pub fn load(folder: &Path) -> io::Result<Option<Self>> {
        small_file::read(folder, RECOVERING)
    }

    /// Notes that it begins.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn begin(&self, folder: &Path) -> io::Result<()> {
        small_file::replace(folder, RECOVERING, self)
    }

    /// Notes that it has ended. Before, the cluster that was left is added to [`former_clusters`].
    ///
    /// # Errors
    /// When the disk does not take it; then it has not ended.
    pub fn finish(&self, folder: &Path) -> io::Result<()> {
        let mut former = former_clusters(folder)?;
        if !former.contains(&self.from) {
            former.push(self.from);
            let surplus = former.len().saturating_sub(MOST_FORMER);
            former.drain(..surplus);
            small_file::replace(folder, FORMER, &Former(former))?;
        }
        let path = folder.join(RECOVERING);
        std::fs::remove_file(&path).map_err(|error| explain(&error, "remove", &path))?;
        sync_folder(folder)
    }
}

/// The clusters that the one in this folder was recovered from. Nodes that still belong to one of them are told so.
///
/// # Errors
/// As [`Recovering::load`].
pub fn former_clusters(folder: &Path) -> io::Result<Vec<ClusterId>> {
    let former = small_file::read::<Former>(folder, FORMER)?;
    Ok(former.map_or_else(Vec::new, |Former(former)| former))
}

struct Former(Vec<ClusterId>);

impl Wire for Former {
    fn encode(&self, to: &mut Vec<u8>) {
        put_count(to, self.0.len());
        for cluster in &self.0 {
            cluster.encode(to);
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let count = from.count(16, "former clusters")?;
        let clusters = (0..count).map(|_| ClusterId::decode(from));
        clusters.collect::<Result<_, _>>().map(Self)
    }
}

impl Wire for Recovering {
    fn encode(&self, to: &mut Vec<u8>) {
        self.from.encode(to);
        self.to.encode(to);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            from: ClusterId::decode(from)?,
            to: ClusterId::decode(from)?,
        })
    }
}

const RECOVERING: &str = "recovering";
const FORMER: &str = "former";
/// No one recovers so often.
const MOST_FORMER: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_is_known_until_it_has_ended_and_its_cluster_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(Recovering::load(folder).unwrap(), None);
        assert_eq!(former_clusters(folder).unwrap(), []);
        for number in 1..=3 {
            let recovering = Recovering {
                from: ClusterId(number),
                to: ClusterId(number + 1),
            };
            recovering.begin(folder).unwrap();
            assert_eq!(Recovering::load(folder).unwrap(), Some(recovering));
            recovering.finish(folder).unwrap();
            assert_eq!(Recovering::load(folder).unwrap(), None);
        }
        let former = [1, 2, 3].map(ClusterId);
        assert_eq!(former_clusters(folder).unwrap(), former);
    }
}
