//! A partition's state store, behind the checksum.

#![no_main]

use fermata_engine::record::{Checkpoint, CurrentRun, HistoryChunk, RunRecord, seal, unseal};
use fermata_proto::codec;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        // Bytes, since a value may hold a number that equals nothing.
        let sealed = seal(&value);
        let again: T = unseal(&sealed).expect("what was sealed is read");
        assert_eq!(seal(&again), sealed);
    }
    // Almost never a value: the checksum has to fit.
    let _ = unseal::<T>(bytes);
}

fuzz_target!(|bytes: &[u8]| {
    read::<RunRecord>(bytes);
    read::<HistoryChunk>(bytes);
    read::<CurrentRun>(bytes);
    read::<Checkpoint>(bytes);
});
