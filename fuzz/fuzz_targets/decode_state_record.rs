//! A partition's state store, behind the checksum.

#![no_main]

use fermata_engine::record::{Checkpoint, CurrentRun, HistoryChunk, RunRecord, seal, unseal};
use fermata_proto::codec;
use libfuzzer_sys::fuzz_target;
use std::fmt::Debug;

fn read<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug,
{
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert_eq!(unseal::<T>(&seal(&value)).expect("what was sealed is read"), value);
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
