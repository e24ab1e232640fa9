//! Frames that wait to be sent on one connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::connection::CLOSED;
use super::frame::HEAD_BYTES;
use super::incoming::Room;
use super::seal::Seal;
use crate::network::CallError;

/// Small frames that wait are sent in one write of about this size.
const WRITE_BYTES: usize = 256 << 10;
/// A frame that is larger is not copied next to others: the copy would cost more than a write.
const SMALL_BYTES: usize = 16 << 10;

/// Whether a request still waits, was sent, or is not to be sent any more.
#[derive(Clone, Default)]
pub(super) struct Place(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Place {
    /// Has the request never sent; `false` if it is too late for that.
    pub(super) fn withdraw(&self) -> bool {
        self.leave_queue(WITHDRAWN) || self.0.load(Ordering::Acquire) == WITHDRAWN
    }

    fn leave_queue(&self, next: u8) -> bool {
        let left = self
            .0
            .compare_exchange(QUEUED, next, Ordering::AcqRel, Ordering::Acquire);
        left.is_ok()
    }
}

/// A frame on its way out.
pub(super) struct Parcel {
    frame: Vec<u8>,
    /// Of a request.
    place: Option<Place>,
    /// Of an answer: what its request took up here, until the answer has left.
    room: Option<Room>,
}

impl Parcel {
    pub(super) fn request(frame: Vec<u8>, place: Place) -> Self {
        let place = Some(place);
        let room = None;
        Self { frame, place, room }
    }

    pub(super) fn answer(frame: Vec<u8>, room: Room) -> Self {
        let room = Some(room);
        let place = None;
        Self { frame, place, room }
    }

    /// Whether it is still to be sent. From now on it counts as sent.
    fn begin(&self) -> bool {
        self.place
            .as_ref()
            .is_none_or(|place| place.leave_queue(SENT))
    }
}

/// Where frames go in that are to be sent.
#[derive(Clone)]
pub(super) struct Outgoing {
    sender: mpsc::UnboundedSender<Parcel>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// Where they come out.
pub(super) struct Parcels {
    receiver: mpsc::UnboundedReceiver<Parcel>,
    bytes: Arc<AtomicUsize>,
    /// A large frame that was found when small ones were collected.
    next: Option<Parcel>,
}

impl Outgoing {
    pub(super) fn new(max_bytes: usize) -> (Self, Parcels) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let bytes = Arc::new(AtomicUsize::new(0));
        let parcels = Parcels {
            receiver,
            bytes: Arc::clone(&bytes),
            next: None,
        };
        let outgoing = Self {
            sender,
            bytes,
            max_bytes,
        };
        (outgoing, parcels)
    }

    /// Checks that another frame may wait.
    ///
    /// # Errors
    /// When too much waits already.
    pub(super) fn check_room(&self) -> Result<(), CallError> {
        let waiting = self.bytes.load(Ordering::Relaxed);
        if waiting > self.max_bytes {
            let why = format!("{waiting} bytes wait to be sent already");
            return Err(CallError::NotSent(why));
        }
        Ok(())
    }

    /// Has a frame sent.
    ///
    /// # Errors
    /// When the connection is closed.
    pub(super) fn send(&self, parcel: Parcel) -> Result<(), CallError> {
        self.bytes.fetch_add(parcel.frame.len(), Ordering::Relaxed);
        let sent = self.sender.send(parcel);
        sent.map_err(|_| CallError::NotSent(CLOSED.to_owned()))
    }
}

impl Parcels {
    /// The next frame that is still to be sent.
    async fn next(&mut self) -> Option<Parcel> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        loop {
            let parcel = self.receiver.recv().await?;
            if parcel.begin() {
                return Some(parcel);
            }
            self.release(parcel.frame.len());
        }
    }

    /// A small frame that waits already. A large one is left for [`next`](Self::next).
    fn next_small(&mut self) -> Option<Parcel> {
        loop {
            let parcel = self.receiver.try_recv().ok()?;
            if !parcel.begin() {
                self.release(parcel.frame.len());
            } else if parcel.frame.len() > SMALL_BYTES {
                self.next = Some(parcel);
                return None;
            } else {
                return Some(parcel);
            }
        }
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Sends frames as they are given, small ones together.
pub(super) async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut seal: Seal,
    mut parcels: Parcels,
) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut rooms = Vec::new();
    while let Some(mut parcel) = parcels.next().await {
        let mut bytes = parcel.frame.len();
        seal.seal(&mut parcel.frame, HEAD_BYTES);
        rooms.extend(parcel.room);
        if bytes > SMALL_BYTES {
            stream.write_all(&parcel.frame).await?;
        } else {
            batch.extend_from_slice(&parcel.frame);
            while batch.len() < WRITE_BYTES
                && let Some(mut parcel) = parcels.next_small()
            {
                bytes += parcel.frame.len();
                seal.seal(&mut parcel.frame, HEAD_BYTES);
                rooms.extend(parcel.room);
                batch.extend_from_slice(&parcel.frame);
            }
            stream.write_all(&batch).await?;
            batch.clear();
        }
        stream.flush().await?;
        rooms.clear();
        parcels.release(bytes);
    }
    Ok(())
}
