//! The connections of this nsqd, for statistics and for the shutdown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nsq_core::{ClientHandle as _, ClientId};
use nsq_server::Client;
use nsq_transport::Compression;
use nsq_transport::tls;
use tokio::sync::Notify;

use crate::clock;

/// One connection: the client, and what its stream has been put through.
pub(crate) struct Connected {
    pub(crate) client: Arc<Client>,
    /// What TLS agreed on, once there is TLS.
    pub(crate) tls: OnceLock<tls::Session>,
    pub(crate) compression: OnceLock<Compression>,
}

/// All connections.
pub(crate) struct ClientTable {
    next_id: AtomicU32,
    clients: Mutex<HashMap<ClientId, Arc<Connected>>>,
    /// A connection is gone, after [`dismiss_all`](ClientTable::dismiss_all).
    gone: Notify,
    is_dismissing: AtomicBool,
    is_closing: AtomicBool,
}

impl ClientTable {
    pub(crate) fn new() -> ClientTable {
        ClientTable {
            // 0 is no client: the owner of what was in flight before a restart.
            next_id: AtomicU32::new(1),
            clients: Mutex::default(),
            gone: Notify::new(),
            is_dismissing: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Connected>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection from `remote_address`, `ip:port`.
    pub(crate) fn add(&self, remote_address: String, remote_ip: String) -> Arc<Connected> {
        let id = ClientId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let client = Client::new(id, remote_address, remote_ip, clock::now());
        let connected = Arc::new(Connected {
            client: Arc::new(client),
            tls: OnceLock::new(),
            compression: OnceLock::new(),
        });
        self.lock().insert(id, Arc::clone(&connected));
        if self.is_dismissing.load(Ordering::Acquire) {
            connected.client.dismiss();
        }
        if self.is_closing.load(Ordering::Acquire) {
            connected.client.close();
        }
        connected
    }

    pub(crate) fn remove(&self, id: ClientId) {
        self.lock().remove(&id);
        if self.is_dismissing.load(Ordering::Acquire) {
            self.gone.notify_one();
        }
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many connections there have been.
    pub(crate) fn opened_count(&self) -> u64 {
        u64::from(self.next_id.load(Ordering::Relaxed).wrapping_sub(1))
    }

    /// Every connection, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Connected>> {
        let mut clients: Vec<_> = self.lock().values().cloned().collect();
        clients.sort_by_key(|connected| connected.client.id());
        clients
    }

    /// Has every connection end once what came is answered, now and from now on.
    pub(crate) fn dismiss_all(&self) {
        self.is_dismissing.store(true, Ordering::Release);
        for connected in self.all() {
            connected.client.dismiss();
        }
    }

    /// Closes every connection at once, now and from now on.
    pub(crate) fn close_all(&self) {
        self.is_closing.store(true, Ordering::Release);
        for connected in self.all() {
            connected.client.close();
        }
    }

    /// Waits until no connection is left, after [`dismiss_all`](Self::dismiss_all).
    pub(crate) async fn all_gone(&self) {
        while !self.lock().is_empty() {
            self.gone.notified().await;
        }
    }
}
