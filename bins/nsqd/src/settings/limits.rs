//! The settings as the protocol and the connections need them.

use nsq_core::latency::PercentileSettings;
use nsq_daemon::version::VERSION;
use nsq_protocol::Limits;
use nsq_protocol::identify::{IdentifyLimits, ServerFeatures};

use super::{Settings, TlsRequired, topology};

impl Settings {
    /// What holds for every command.
    pub fn limits(&self) -> Limits {
        Limits {
            max_msg_size: self.max_msg_size,
            max_body_size: self.max_body_size,
            max_rdy_count: self.max_rdy_count,
            max_req_timeout: self.max_req_timeout,
        }
    }

    /// What a client may ask for in IDENTIFY, and what it gets without asking.
    pub fn identify_limits(&self) -> IdentifyLimits {
        IdentifyLimits {
            max_heartbeat_interval: self.max_heartbeat_interval,
            min_output_buffer_timeout: self.min_output_buffer_timeout,
            max_output_buffer_timeout: self.max_output_buffer_timeout,
            max_output_buffer_size: self.max_output_buffer_size,
            max_msg_timeout: self.max_msg_timeout,
            default_output_buffer_timeout: self.output_buffer_timeout,
            default_msg_timeout: self.msg_timeout,
        }
    }

    /// What this nsqd has to offer.
    pub fn features(&self) -> ServerFeatures {
        ServerFeatures {
            version: VERSION.to_owned(),
            tls_available: self.acceptor().is_some(),
            deflate: self.deflate,
            snappy: self.snappy,
            max_deflate_level: u8::try_from(self.max_deflate_level).expect("checked to be 1 to 9"),
            auth_required: !self.auth_http_addresses.is_empty(),
            topology_region: self.topology_region.clone(),
            topology_zone: self.topology_zone.clone(),
        }
    }

    /// Most consumers of one channel; 0 for no limit.
    pub fn max_channel_consumers(&self) -> usize {
        usize::try_from(self.max_channel_consumers).expect("checked not to be negative")
    }

    /// Which percentiles of the time from publish to FIN are kept, if any.
    pub fn percentiles(&self) -> Option<PercentileSettings> {
        let quantiles = self.e2e_processing_latency_percentiles.to_vec();
        (!quantiles.is_empty()).then_some(PercentileSettings {
            quantiles,
            window: self.e2e_processing_latency_window_time,
        })
    }

    /// What the connections have to know of all this.
    pub fn server(&self) -> nsq_server::Settings {
        nsq_server::Settings {
            limits: self.limits(),
            identify_limits: self.identify_limits(),
            features: self.features(),
            tls_required: self.tls_required != TlsRequired::No,
            max_channel_consumers: self.max_channel_consumers(),
            first_command_timeout: self.first_command_timeout,
            topology: topology::of(self),
        }
    }
}
