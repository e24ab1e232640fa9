//! What a change does to the directory. The same change meets the same state on every replica, so it has the same outcome.

use std::collections::BTreeSet;

use super::{
    Change, Directory, InvalidMember, ListedMember, MAX_MEMBERS, MAX_REPLICAS, MAX_SHARDS,
    MAX_ZONE_BYTES, MemberInfo, Outcome, Refused, ShardInfo,
};
use crate::identity::Founders;
use crate::{ClusterId, NodeId};

impl Directory {
    /// Applies a change. One that is refused, or that finds the directory as it wants it, has no effect.
    pub fn apply(&mut self, change: &Change) -> Outcome {
        self.try_apply(change).unwrap_or_else(Outcome::Refused)
    }

    fn try_apply(&mut self, change: &Change) -> Result<Outcome, Refused> {
        match change {
            Change::Found { cluster, members } => return self.found(*cluster, members),
            _ if !self.is_founded() => return Err(Refused::NotFounded),
            _ => {}
        }
        match change {
            Change::Found { .. } => Err(Refused::AlreadyFounded),
            Change::AddMember {
                info,
                token,
                replaces,
            } => self.add_member(info, *token, *replaces),
            Change::UpdateMember { node, info } => self.update_member(*node, info),
            Change::SetZone { node, zone } => self.set_zone(*node, zone),
            Change::RemoveMember(node) => self.remove_member(*node),
            Change::CreateShard { owner } => self.create_shard(*owner),
            Change::PlaceShard { shard, replicas } => self.place_shard(*shard, replicas),
            Change::RecordVoters { shard, voters } => self.record_voters(*shard, voters),
            Change::SetOwner { shard, owner } => self.set_owner(*shard, *owner),
            Change::RetireShard(shard) => self.retire_shard(*shard),
            Change::CreateTopic { topic, channels } => self.create_topic(topic, channels),
            Change::DeleteTopic(topic) => self.delete_topic(topic),
            Change::CreateChannel(topic, channel) => self.create_channel(topic, channel),
            Change::DeleteChannel(topic, channel) => self.delete_channel(topic, channel),
        }
    }

    fn found(&mut self, cluster: ClusterId, members: &Founders) -> Result<Outcome, Refused> {
        if self.is_founded() {
            return Err(Refused::AlreadyFounded);
        }
        let addresses: BTreeSet<_> = members.values().map(|info| &info.address).collect();
        for info in members.values() {
            info.check()?;
        }
        let is_sound = cluster != ClusterId::NONE
            && addresses.len() == members.len()
            && !members.contains_key(&NodeId(0));
        let Some((last, _)) = members.last_key_value().filter(|_| is_sound) else {
            return Err(Refused::Unreadable("no such cluster can exist".to_owned()));
        };
        if members.len() > MAX_MEMBERS || last.0 == u64::MAX {
            return Err(full("members", MAX_MEMBERS));
        }
        self.cluster = cluster;
        self.next_node = last.0 + 1;
        let listed = members.iter().map(|(node, info)| {
            let member = ListedMember {
                info: info.clone(),
                token: 0,
                zone: String::new(),
            };
            (*node, member)
        });
        self.members = listed.collect();
        Ok(self.changed())
    }

    fn add_member(
        &mut self,
        info: &MemberInfo,
        token: u128,
        replaces: Option<NodeId>,
    ) -> Result<Outcome, Refused> {
        let mut members = self.members.iter();
        let same = |member: &ListedMember| token != 0 && member.token == token;
        if let Some((node, _)) = members.find(|(_, member)| same(member)) {
            return Ok(Outcome::Member(*node));
        }
        info.check()?;
        self.check_address(&info.address, replaces)?;
        match replaces {
            Some(old) if !self.members.contains_key(&old) => {
                return Err(Refused::NoSuchMember(old));
            }
            None if self.members.len() >= MAX_MEMBERS => return Err(full("members", MAX_MEMBERS)),
            _ => {}
        }
        let node = NodeId(self.next_node);
        self.next_node += 1;
        if let Some(old) = replaces {
            self.members.remove(&old);
            self.shards.retain(|_, shard| !shard.is_lost_with(old));
            for shard in self.shards.values_mut() {
                shard.replace(old, node);
            }
        }
        let member = ListedMember {
            info: info.clone(),
            token,
            zone: String::new(),
        };
        self.members.insert(node, member);
        self.changed();
        Ok(Outcome::Member(node))
    }

    fn update_member(&mut self, node: NodeId, info: &MemberInfo) -> Result<Outcome, Refused> {
        info.check()?;
        self.check_address(&info.address, Some(node))?;
        let index = self.index;
        let member = self.member(node)?;
        let info = MemberInfo {
            joined: member.info.joined,
            ..info.clone()
        };
        if member.info == info {
            return Ok(Outcome::Done(index));
        }
        member.info = info;
        Ok(self.changed())
    }

    fn set_zone(&mut self, node: NodeId, zone: &str) -> Result<Outcome, Refused> {
        if zone.len() > MAX_ZONE_BYTES || zone.contains(char::is_control) {
            return Err(InvalidMember::Zone(super::shortened(zone)).into());
        }
        let index = self.index;
        let member = self.member(node)?;
        if member.zone == zone {
            return Ok(Outcome::Done(index));
        }
        zone.clone_into(&mut member.zone);
        Ok(self.changed())
    }

    fn remove_member(&mut self, node: NodeId) -> Result<Outcome, Refused> {
        self.member(node)?;
        if self.members.len() == 1 {
            return Err(Refused::LastMember(node));
        }
        self.members.remove(&node);
        for shard in self.shards.values_mut() {
            shard.owner = shard.owner.filter(|owner| *owner != node);
            shard.replicas.retain(|replica| *replica != node);
        }
        self.shards.retain(|_, shard| {
            let is_used = shard.owner.is_some() || shard.is_formed();
            is_used && !shard.is_lost_with(node)
        });
        Ok(self.changed())
    }

    fn create_shard(&mut self, owner: NodeId) -> Result<Outcome, Refused> {
        self.member(owner)?;
        if let Some(shard) = self.shard_of(owner) {
            return Err(Refused::HasShard { owner, shard });
        }
        if self.shards.len() >= MAX_SHARDS {
            return Err(full("shards", MAX_SHARDS));
        }
        let shard = self.next_shard;
        self.next_shard += 1;
        self.changed();
        let about = ShardInfo {
            owner: Some(owner),
            replicas: vec![owner],
            voters: BTreeSet::new(),
            created_at: self.index,
        };
        self.shards.insert(shard, about);
        Ok(Outcome::Shard(shard))
    }

    fn place_shard(&mut self, shard: u64, replicas: &[NodeId]) -> Result<Outcome, Refused> {
        let unique: BTreeSet<_> = replicas.iter().copied().collect();
        if replicas.is_empty() || replicas.len() > MAX_REPLICAS || unique.len() != replicas.len() {
            return Err(Refused::InvalidReplicas);
        }
        for replica in replicas {
            self.member(*replica)?;
        }
        let index = self.index;
        let about = self.shard(shard)?;
        let mut replicas = replicas.to_vec();
        // The owner first, the others in the order given.
        replicas.sort_by_key(|replica| about.owner != Some(*replica));
        if about.replicas == replicas {
            return Ok(Outcome::Done(index));
        }
        about.replicas = replicas;
        Ok(self.changed())
    }

    fn record_voters(&mut self, shard: u64, voters: &BTreeSet<NodeId>) -> Result<Outcome, Refused> {
        let index = self.index;
        let creator = self.group_creator(shard);
        let about = self.shard(shard)?;
        if about.voters == *voters {
            return Ok(Outcome::Done(index));
        }
        // A group begins with one voter: with two, both could believe to have begun it.
        let begins = voters.len() == 1 && voters.first().copied() == creator;
        if voters.is_empty() || (!about.is_formed() && !begins) || voters.len() > 2 * MAX_REPLICAS {
            return Err(Refused::InvalidVoters(shard));
        }
        about.voters.clone_from(voters);
        Ok(self.changed())
    }

    fn set_owner(&mut self, shard: u64, owner: Option<NodeId>) -> Result<Outcome, Refused> {
        let index = self.index;
        if self.shard(shard)?.owner == owner {
            return Ok(Outcome::Done(index));
        }
        if let Some(owner) = owner {
            self.member(owner)?;
            if let Some(shard) = self.shard_of(owner) {
                return Err(Refused::HasShard { owner, shard });
            }
        }
        self.shard(shard)?.owner = owner;
        Ok(self.changed())
    }

    fn retire_shard(&mut self, shard: u64) -> Result<Outcome, Refused> {
        if self.is_retired(shard) {
            return Ok(Outcome::Done(self.index));
        }
        if let Some(owner) = self.shard(shard)?.owner {
            return Err(Refused::HasOwner { shard, owner });
        }
        self.shards.remove(&shard);
        Ok(self.changed())
    }

    pub(super) fn changed(&mut self) -> Outcome {
        self.index += 1;
        Outcome::Done(self.index)
    }

    fn member(&mut self, node: NodeId) -> Result<&mut ListedMember, Refused> {
        let member = self.members.get_mut(&node);
        member.ok_or(Refused::NoSuchMember(node))
    }

    fn shard(&mut self, shard: u64) -> Result<&mut ShardInfo, Refused> {
        let about = self.shards.get_mut(&shard);
        about.ok_or(Refused::NoSuchShard(shard))
    }

    fn check_address(&self, address: &str, may_have_it: Option<NodeId>) -> Result<(), Refused> {
        match self.member_at(address) {
            Some(node) if Some(node) != may_have_it => Err(Refused::AddressTaken {
                node,
                address: address.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl ShardInfo {
    /// Whether no one but the node has the shard's messages. Its number is given up with the node: learners may hold a log of
    /// the group that does not go together with that of a new group.
    fn is_lost_with(&self, node: NodeId) -> bool {
        self.is_formed() && self.voters.iter().all(|voter| *voter == node)
    }

    /// Puts the node `new` in the place of `old`, which stays among the voters until the group's leader has made `new` one.
    fn replace(&mut self, old: NodeId, new: NodeId) {
        if self.owner == Some(old) {
            self.owner = Some(new);
        }
        for replica in &mut self.replicas {
            if *replica == old {
                *replica = new;
            }
        }
    }
}

pub(super) fn full(what: &str, count: usize) -> Refused {
    Refused::Full {
        what: what.to_owned(),
        count: count as u64,
    }
}
