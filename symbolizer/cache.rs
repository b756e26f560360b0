//! How much parsed debug information stays in memory, over all images: the
//! few files used last, up to a number of files and of bytes. What is dropped
//! is parsed again when it is asked for again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::frames::Frames;

/// The most files whose debug information stays parsed.
pub const MAX_FILES: usize = 32;
/// The most bytes that parsed debug information may hold between batches. The
/// one used last stays in any case.
pub const MAX_BYTES: u64 = 32 << 20;

/// The place in an image where its parsed debug information is kept.
pub(crate) type Slot = Mutex<Option<Arc<Frames>>>;

/// The slots that are in use, the oldest first.
static USED: Mutex<VecDeque<Weak<Slot>>> = Mutex::new(VecDeque::new());

/// Notes that `slot` was just used, and empties the oldest ones over the
/// limits.
pub(crate) fn touch(slot: &Arc<Slot>) {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    used.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&Arc::downgrade(slot)));
    used.push_back(Arc::downgrade(slot));
    let mut bytes: u64 = 0;
    let mut kept = 0;
    for at in (0..used.len()).rev() {
        let Some(slot) = used[at].upgrade() else { continue };
        let held = frames(&slot).map_or(0, |frames| frames.held());
        bytes = bytes.saturating_add(held);
        kept += 1;
        if kept > 1 && (bytes > MAX_BYTES || kept > MAX_FILES) {
            empty(&slot);
            used.remove(at);
        }
    }
}

/// Drops all parsed debug information of all images.
pub fn clear() {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    for slot in used.drain(..).filter_map(|slot| slot.upgrade()) {
        empty(&slot);
    }
}

pub(crate) fn frames(slot: &Slot) -> Option<Arc<Frames>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn empty(slot: &Slot) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
