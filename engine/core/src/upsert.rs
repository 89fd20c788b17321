//! Upserts of memo and search attributes by workflow code.

use std::sync::Arc;

use fermata_proto::command::*;
use fermata_proto::common::{Memo, Payload, SearchAttributes};
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::event::*;

use crate::command::CommandError;
use crate::decision::Effect;
use crate::run::Run;
use crate::search_attributes;
use crate::transaction::Transaction;

pub(crate) fn on_search_attributes(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    attributes: &UpsertWorkflowSearchAttributesCommandAttributes,
) -> Result<(), CommandError> {
    let Some(search_attributes) = attributes
        .search_attributes
        .as_ref()
        .filter(|given| !given.indexed_fields.is_empty())
    else {
        return Err(CommandError::fail(
            Cause::BadSearchAttributes,
            "BadSearchAttributes: IndexedFields is not set on UpsertWorkflowSearchAttributesCommand.",
        ));
    };
    let typed = search_attributes::typed(search_attributes, tx.ctx).map_err(|text| {
        CommandError::fail(
            Cause::BadSearchAttributes,
            format!("BadSearchAttributes: {text}"),
        )
    })?;
    tx.event(UpsertWorkflowSearchAttributesEventAttributes {
        workflow_task_completed_event_id: completed_event_id,
        search_attributes: Some(typed),
    });
    publish(tx);
    Ok(())
}

pub(crate) fn on_memo(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    attributes: &ModifyWorkflowPropertiesCommandAttributes,
) -> Result<(), CommandError> {
    let Some(memo) = attributes
        .upserted_memo
        .as_ref()
        .filter(|memo| !memo.fields.is_empty())
    else {
        return Err(CommandError::fail(
            Cause::BadModifyWorkflowPropertiesAttributes,
            "BadModifyWorkflowPropertiesAttributes: UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.",
        ));
    };
    tx.event(WorkflowPropertiesModifiedEventAttributes {
        workflow_task_completed_event_id: completed_event_id,
        upserted_memo: Some(memo.clone()),
    });
    publish(tx);
    Ok(())
}

fn publish(tx: &mut Transaction<'_>) {
    let run_id = tx.run().run_id.clone();
    tx.effect(Effect::PublishVisibility { run_id });
}

/// A null value removes its key.
pub(crate) fn is_null(value: &Payload) -> bool {
    let encoding = value
        .metadata
        .get("encoding")
        .map(|encoding| &encoding[..])
        .unwrap_or_default();
    value.data.is_empty()
        || encoding == b"binary/null"
        || encoding == b"json/plain" && (&value.data[..] == b"null" || &value.data[..] == b"[]")
}

pub(crate) fn apply_search_attributes(run: &mut Run, upserted: Option<&SearchAttributes>) {
    for (name, value) in upserted
        .iter()
        .flat_map(|upserted| &upserted.indexed_fields)
    {
        if is_null(value) {
            Arc::make_mut(&mut run.search_attributes)
                .indexed_fields
                .remove(name);
        } else {
            Arc::make_mut(&mut run.search_attributes)
                .indexed_fields
                .insert(name.clone(), value.clone());
        }
    }
}

pub(crate) fn apply_memo(run: &mut Run, upserted: Option<&Memo>) {
    for (name, value) in upserted.iter().flat_map(|upserted| &upserted.fields) {
        if is_null(value) {
            Arc::make_mut(&mut run.memo).remove(name);
        } else {
            Arc::make_mut(&mut run.memo).insert(name.clone(), value.clone());
        }
    }
}
