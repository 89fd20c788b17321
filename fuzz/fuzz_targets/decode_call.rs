//! A request from anybody who may publish to an engine.

#![no_main]

use fermata_proto::codec;
use fermata_proto::rpc::Call;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::decode::<Call>(bytes) {
        // Bytes, since a value may hold a number that equals nothing.
        let written = codec::encode(&value);
        let again: Call = codec::decode(&written).expect("what was written is read");
        assert_eq!(codec::encode(&again), written);
    }
});
