//! A request from anybody who may publish to an engine.

#![no_main]

use fermata_proto::rpc::Call;
use fermata_proto::codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::decode::<Call>(bytes) {
        let again: Call = codec::decode(&codec::encode(&value)).expect("what was written is read");
        assert_eq!(again, value);
    }
});
