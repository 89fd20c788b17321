//! A partition's log.

#![no_main]

use fermata_engine::record::LogRecord;
use fermata_proto::codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::decode::<LogRecord>(bytes) {
        let again: LogRecord = codec::decode(&codec::encode(&value)).expect("what was written is read");
        assert_eq!(again, value);
    }
});
