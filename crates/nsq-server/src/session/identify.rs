//! IDENTIFY: what the client says of itself, and the layers that are put on the stream for it.

use nsq_core::Now;
use nsq_protocol::identify::{ClientSettings, Compression, IdentifyRequest, Negotiation};
use nsq_protocol::{CommandError, frame};

use super::{Hold, Next, Observer, Session, log};

/// What the stream has been put through, each at most once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Layers {
    pub(super) tls: bool,
    compressed: bool,
}

impl<O: Observer> Session<O> {
    /// How deliveries and heartbeats go.
    ///
    /// Compat: by the first IDENTIFY only (messagePump, nsqd/protocol_v2.go).
    pub(super) fn delivery_settings(&self) -> &ClientSettings {
        self.first_settings.as_deref().unwrap_or(&self.settings)
    }

    /// What was agreed on to be done to the stream, if anything.
    pub(super) fn identify(
        &mut self,
        body: &[u8],
        now: Now,
    ) -> Result<Option<Negotiation>, CommandError> {
        let request = IdentifyRequest::parse(body)?;
        log::identify(self.client.remote_address(), &request);
        {
            let mut details = self.client.details();
            details.client_id.clone_from(&request.client_id);
            details.hostname.clone_from(&request.hostname);
            details.user_agent.clone_from(&request.user_agent);
            details.topology_region.clone_from(&request.topology_region);
            details.topology_zone.clone_from(&request.topology_zone);
        }
        let server = self.server.settings();
        self.settings = request.revise(&self.settings, &server.identify_limits)?;
        if self.first_settings.is_none() {
            let mut details = self.client.details();
            details.sample_rate = self.settings.sample_rate;
            let (region, zone) = (&request.topology_region, &request.topology_zone);
            details.locality = server.topology.locality(region, zone);
            drop(details);
            self.first_settings = Some(Box::new(self.settings.clone()));
            self.deadlines
                .restart(self.settings.heartbeat_interval, now.tick);
        }
        let agreed = request.negotiate(&server.features)?;
        let answer = match agreed {
            None => "OK".to_owned(),
            Some(agreed) => {
                self.layers.check(agreed)?;
                let nodes = if agreed.wants_cluster_nodes {
                    self.server.nodes()
                } else {
                    Vec::new()
                };
                agreed.response(
                    &self.settings,
                    &server.features,
                    &server.limits,
                    &server.identify_limits,
                    &nodes,
                )
            }
        };
        self.answer(|out| frame::write_response(out, answer.as_bytes()));
        Ok(agreed.filter(|agreed| agreed.tls || agreed.compression != Compression::None))
    }

    // ---- the layers, in this order ----

    /// What came in after the IDENTIFY: it belongs to the layer that is put on next.
    pub fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    /// The stream goes through TLS from now on, and the answer to that in the outbox.
    pub fn handle_tls(&mut self) {
        self.layers.tls = true;
        self.answer(|out| out.extend_from_slice(frame::OK));
    }

    /// The stream is compressed from now on, and the answer to that in the outbox.
    pub fn handle_compression(&mut self) {
        self.layers.compressed = true;
        self.answer(|out| out.extend_from_slice(frame::OK));
    }

    /// A layer could not be put on the stream, which is as it was before.
    pub fn handle_upgrade_failed(&mut self, cause: String) -> Next {
        self.refuse(&CommandError::IdentifyFailed { cause });
        self.close_when_answered()
    }

    /// The answer to [`Next::Upgrade`]: all layers are there.
    pub fn handle_upgraded(&mut self, now: Now) -> Next {
        if self.hold == Hold::Upgrade {
            self.resume(now)
        } else {
            Next::Wait
        }
    }
}

impl Layers {
    /// Why the stream cannot be changed as agreed, if so.
    fn check(self, agreed: Negotiation) -> Result<(), CommandError> {
        let cause = if agreed.tls && self != Layers::default() {
            "TLS must be negotiated once, and before compression"
        } else if agreed.compression != Compression::None && self.compressed {
            "compression must be negotiated once"
        } else {
            return Ok(());
        };
        Err(CommandError::IdentifyFailed {
            cause: cause.to_owned(),
        })
    }
}
