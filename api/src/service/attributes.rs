//! Search attributes: which a namespace has. What values they take is the engine's to say.

use std::collections::HashMap;

use fermata_proto::enums::IndexedValueType;
use fermata_proto::pb::operatorservice::v1 as op;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::Rejection;
use fermata_proto::wire::Wire;

use super::caller::Caller;
use super::{Handled, Service};
use crate::visibility::attribute;

impl Service {
    pub(crate) async fn add_search_attributes(
        &self,
        _: &Caller,
        request: op::AddSearchAttributesRequest,
    ) -> Handled<op::AddSearchAttributesResponse> {
        self.namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(not_set());
        }
        let mut added = Vec::new();
        for (name, number) in &request.search_attributes {
            if attribute::is_reserved(name) {
                return Err(Rejection::invalid_argument(format!(
                    "Search attribute {name} is reserved by system."
                )));
            }
            let value_type = IndexedValueType::from_wire(*number)
                .ok()
                .filter(|value_type| *value_type != IndexedValueType::Unspecified)
                .ok_or_else(|| {
                    Rejection::invalid_argument(format!(
                        "Unable to parse search attribute type: {number}."
                    ))
                })?;
            added.push((name.clone(), value_type));
        }
        // One that exists keeps its type: values of it may be stored.
        self.change_namespace(&request.namespace, |record| {
            for (name, value_type) in &added {
                record
                    .search_attributes
                    .entry(name.clone())
                    .or_insert(*value_type);
            }
            Ok(())
        })
        .await?;
        Ok(op::AddSearchAttributesResponse {})
    }

    pub(crate) async fn remove_search_attributes(
        &self,
        _: &Caller,
        request: op::RemoveSearchAttributesRequest,
    ) -> Handled<op::RemoveSearchAttributesResponse> {
        self.namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(not_set());
        }
        if let Some(name) = request
            .search_attributes
            .iter()
            .find(|name| attribute::is_reserved(name))
        {
            return Err(Rejection::invalid_argument(format!(
                "Unable to remove non-custom search attributes: {name}."
            )));
        }
        self.change_namespace(&request.namespace, |record| {
            for name in &request.search_attributes {
                record.search_attributes.remove(name);
            }
            Ok(())
        })
        .await?;
        Ok(op::RemoveSearchAttributesResponse {})
    }

    pub(crate) async fn list_search_attributes(
        &self,
        _: &Caller,
        request: op::ListSearchAttributesRequest,
    ) -> Handled<op::ListSearchAttributesResponse> {
        let namespace = self.namespace(&request.namespace)?;
        Ok(op::ListSearchAttributesResponse {
            custom_attributes: namespace
                .search_attributes
                .iter()
                .map(|(name, value_type)| (name.clone(), value_type.into_wire()))
                .collect(),
            system_attributes: system_attributes(),
            storage_schema: HashMap::new(),
        })
    }

    /// The old form, which knows no namespaces: what all of them have.
    pub(crate) async fn get_search_attributes(
        &self,
        _: &Caller,
        _: rr::GetSearchAttributesRequest,
    ) -> Handled<rr::GetSearchAttributesResponse> {
        Ok(rr::GetSearchAttributesResponse {
            keys: system_attributes(),
        })
    }
}

fn system_attributes() -> HashMap<String, i32> {
    attribute::system()
        .map(|(name, value_type, _)| (name.to_owned(), value_type.into_wire()))
        .collect()
}

fn not_set() -> Rejection {
    Rejection::invalid_argument("SearchAttributes are not set on request.")
}
