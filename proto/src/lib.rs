//! Fermata's words on the wire and in storage: ids, history events, commands, RPC and task messages, subject names
