//! Enumerations. Persisted by number: numbers never change.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::wire::enumeration;

enumeration! {
    /// `temporal.api.enums.v1.TaskQueueKind`.
    TaskQueueKind {
        Unspecified = 0,
        Normal = 1,
        Sticky = 2,
        WorkerCommands = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.WorkflowIdReusePolicy`.
    WorkflowIdReusePolicy {
        Unspecified = 0,
        AllowDuplicate = 1,
        AllowDuplicateFailedOnly = 2,
        RejectDuplicate = 3,
        TerminateIfRunning = 4,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.WorkflowIdConflictPolicy`.
    WorkflowIdConflictPolicy {
        Unspecified = 0,
        Fail = 1,
        UseExisting = 2,
        TerminateExisting = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ApplicationErrorCategory`.
    ApplicationErrorCategory {
        Unspecified = 0,
        Benign = 1,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.TimeoutType`.
    TimeoutType {
        Unspecified = 0,
        StartToClose = 1,
        ScheduleToStart = 2,
        ScheduleToClose = 3,
        Heartbeat = 4,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.RetryState`.
    RetryState {
        Unspecified = 0,
        InProgress = 1,
        NonRetryableFailure = 2,
        Timeout = 3,
        MaximumAttemptsReached = 4,
        RetryPolicyNotSet = 5,
        InternalServerError = 6,
        CancelRequested = 7,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.NexusHandlerErrorRetryBehavior`.
    NexusHandlerErrorRetryBehavior {
        Unspecified = 0,
        Retryable = 1,
        NonRetryable = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.EventType`.
    EventType {
        Unspecified = 0,
        WorkflowExecutionStarted = 1,
        WorkflowExecutionCompleted = 2,
        WorkflowExecutionFailed = 3,
        WorkflowExecutionTimedOut = 4,
        WorkflowTaskScheduled = 5,
        WorkflowTaskStarted = 6,
        WorkflowTaskCompleted = 7,
        WorkflowTaskTimedOut = 8,
        WorkflowTaskFailed = 9,
        ActivityTaskScheduled = 10,
        ActivityTaskStarted = 11,
        ActivityTaskCompleted = 12,
        ActivityTaskFailed = 13,
        ActivityTaskTimedOut = 14,
        ActivityTaskCancelRequested = 15,
        ActivityTaskCanceled = 16,
        TimerStarted = 17,
        TimerFired = 18,
        TimerCanceled = 19,
        WorkflowExecutionCancelRequested = 20,
        WorkflowExecutionCanceled = 21,
        RequestCancelExternalWorkflowExecutionInitiated = 22,
        RequestCancelExternalWorkflowExecutionFailed = 23,
        ExternalWorkflowExecutionCancelRequested = 24,
        MarkerRecorded = 25,
        WorkflowExecutionSignaled = 26,
        WorkflowExecutionTerminated = 27,
        WorkflowExecutionContinuedAsNew = 28,
        StartChildWorkflowExecutionInitiated = 29,
        StartChildWorkflowExecutionFailed = 30,
        ChildWorkflowExecutionStarted = 31,
        ChildWorkflowExecutionCompleted = 32,
        ChildWorkflowExecutionFailed = 33,
        ChildWorkflowExecutionCanceled = 34,
        ChildWorkflowExecutionTimedOut = 35,
        ChildWorkflowExecutionTerminated = 36,
        SignalExternalWorkflowExecutionInitiated = 37,
        SignalExternalWorkflowExecutionFailed = 38,
        ExternalWorkflowExecutionSignaled = 39,
        UpsertWorkflowSearchAttributes = 40,
        WorkflowExecutionUpdateAdmitted = 47,
        WorkflowExecutionUpdateAccepted = 41,
        WorkflowExecutionUpdateRejected = 42,
        WorkflowExecutionUpdateCompleted = 43,
        WorkflowPropertiesModifiedExternally = 44,
        ActivityPropertiesModifiedExternally = 45,
        WorkflowPropertiesModified = 46,
        NexusOperationScheduled = 48,
        NexusOperationStarted = 49,
        NexusOperationCompleted = 50,
        NexusOperationFailed = 51,
        NexusOperationCanceled = 52,
        NexusOperationTimedOut = 53,
        NexusOperationCancelRequested = 54,
        WorkflowExecutionOptionsUpdated = 55,
        NexusOperationCancelRequestCompleted = 56,
        NexusOperationCancelRequestFailed = 57,
        WorkflowExecutionPaused = 58,
        WorkflowExecutionUnpaused = 59,
        WorkflowExecutionTimeSkippingTransitioned = 60,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ExecutionType`.
    ExecutionType {
        Unspecified = 0,
        Workflow = 1,
        Activity = 2,
        NexusOperation = 3,
    }
}

enumeration! {
    /// `temporal.api.workflow.v1.VersioningOverride.PinnedOverrideBehavior`.
    VersioningOverridePinnedOverrideBehavior {
        Unspecified = 0,
        Pinned = 1,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.VersioningBehavior`.
    VersioningBehavior {
        Unspecified = 0,
        Pinned = 1,
        AutoUpgrade = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.WorkerVersioningMode`.
    WorkerVersioningMode {
        Unspecified = 0,
        Unversioned = 1,
        Versioned = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.WorkflowExecutionStatus`.
    WorkflowExecutionStatus {
        Unspecified = 0,
        Running = 1,
        Completed = 2,
        Failed = 3,
        Canceled = 4,
        Terminated = 5,
        ContinuedAsNew = 6,
        TimedOut = 7,
        Paused = 8,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ContinueAsNewInitiator`.
    ContinueAsNewInitiator {
        Unspecified = 0,
        Workflow = 1,
        Retry = 2,
        CronSchedule = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ContinueAsNewVersioningBehavior`.
    ContinueAsNewVersioningBehavior {
        Unspecified = 0,
        AutoUpgrade = 1,
        UseRampingVersion = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.SuggestContinueAsNewReason`.
    SuggestContinueAsNewReason {
        Unspecified = 0,
        HistorySizeTooLarge = 1,
        TooManyHistoryEvents = 2,
        TooManyUpdates = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.WorkflowTaskFailedCause`.
    WorkflowTaskFailedCause {
        Unspecified = 0,
        UnhandledCommand = 1,
        BadScheduleActivityAttributes = 2,
        BadRequestCancelActivityAttributes = 3,
        BadStartTimerAttributes = 4,
        BadCancelTimerAttributes = 5,
        BadRecordMarkerAttributes = 6,
        BadCompleteWorkflowExecutionAttributes = 7,
        BadFailWorkflowExecutionAttributes = 8,
        BadCancelWorkflowExecutionAttributes = 9,
        BadRequestCancelExternalWorkflowExecutionAttributes = 10,
        BadContinueAsNewAttributes = 11,
        StartTimerDuplicateId = 12,
        ResetStickyTaskQueue = 13,
        WorkflowWorkerUnhandledFailure = 14,
        BadSignalWorkflowExecutionAttributes = 15,
        BadStartChildExecutionAttributes = 16,
        ForceCloseCommand = 17,
        FailoverCloseCommand = 18,
        BadSignalInputSize = 19,
        ResetWorkflow = 20,
        BadBinary = 21,
        ScheduleActivityDuplicateId = 22,
        BadSearchAttributes = 23,
        NonDeterministicError = 24,
        BadModifyWorkflowPropertiesAttributes = 25,
        PendingChildWorkflowsLimitExceeded = 26,
        PendingActivitiesLimitExceeded = 27,
        PendingSignalsLimitExceeded = 28,
        PendingRequestCancelLimitExceeded = 29,
        BadUpdateWorkflowExecutionMessage = 30,
        UnhandledUpdate = 31,
        BadScheduleNexusOperationAttributes = 32,
        PendingNexusOperationsLimitExceeded = 33,
        BadRequestCancelNexusOperationAttributes = 34,
        FeatureDisabled = 35,
        GrpcMessageTooLarge = 36,
        PayloadsTooLarge = 37,
        ExternalStorageFailure = 38,
        WorkflowPauseRequestedBeforeTaskStarted = 39,
        RequestTooLarge = 40,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ActivityTaskFailedCause`.
    ActivityTaskFailedCause {
        Unspecified = 0,
        PayloadsTooLarge = 1,
        ExternalStorageFailure = 2,
        ActivityWorkerUnhandledFailure = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.CancelExternalWorkflowExecutionFailedCause`.
    CancelExternalWorkflowExecutionFailedCause {
        Unspecified = 0,
        ExternalWorkflowExecutionNotFound = 1,
        NamespaceNotFound = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ParentClosePolicy`.
    ParentClosePolicy {
        Unspecified = 0,
        Terminate = 1,
        Abandon = 2,
        RequestCancel = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.StartChildWorkflowExecutionFailedCause`.
    StartChildWorkflowExecutionFailedCause {
        Unspecified = 0,
        WorkflowAlreadyExists = 1,
        NamespaceNotFound = 2,
        InvalidVersioningOverride = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.SignalExternalWorkflowExecutionFailedCause`.
    SignalExternalWorkflowExecutionFailedCause {
        Unspecified = 0,
        ExternalWorkflowExecutionNotFound = 1,
        NamespaceNotFound = 2,
        SignalCountLimitExceeded = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.UpdateAdmittedEventOrigin`.
    UpdateAdmittedEventOrigin {
        Unspecified = 0,
        Reapply = 1,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ScheduleOverlapPolicy`.
    ScheduleOverlapPolicy {
        Unspecified = 0,
        Skip = 1,
        BufferOne = 2,
        BufferAll = 3,
        CancelOther = 4,
        TerminateOther = 5,
        AllowAll = 6,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ResetReapplyType`.
    ResetReapplyType {
        Unspecified = 0,
        Signal = 1,
        None = 2,
        AllEligible = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ResetReapplyExcludeType`.
    ResetReapplyExcludeType {
        Unspecified = 0,
        Signal = 1,
        Update = 2,
        Nexus = 3,
        CancelRequest = 4,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.QueryRejectCondition`.
    QueryRejectCondition {
        Unspecified = 0,
        None = 1,
        NotOpen = 2,
        NotCompletedCleanly = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.UpdateWorkflowExecutionLifecycleStage`.
    UpdateWorkflowExecutionLifecycleStage {
        Unspecified = 0,
        Admitted = 1,
        Accepted = 2,
        Completed = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.PendingActivityState`.
    PendingActivityState {
        Unspecified = 0,
        Scheduled = 1,
        Started = 2,
        CancelRequested = 3,
        Paused = 4,
        PauseRequested = 5,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.PendingWorkflowTaskState`.
    PendingWorkflowTaskState {
        Unspecified = 0,
        Scheduled = 1,
        Started = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.CallbackState`.
    CallbackState {
        Unspecified = 0,
        Standby = 1,
        Scheduled = 2,
        BackingOff = 3,
        Failed = 4,
        Succeeded = 5,
        Blocked = 6,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.PendingNexusOperationState`.
    PendingNexusOperationState {
        Unspecified = 0,
        Scheduled = 1,
        BackingOff = 2,
        Started = 3,
        Blocked = 4,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.NexusOperationCancellationState`.
    NexusOperationCancellationState {
        Unspecified = 0,
        Scheduled = 1,
        BackingOff = 2,
        Succeeded = 3,
        Failed = 4,
        TimedOut = 5,
        Blocked = 6,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.HistoryEventFilterType`.
    HistoryEventFilterType {
        Unspecified = 0,
        AllEvent = 1,
        CloseEvent = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.EncodingType`.
    EncodingType {
        Unspecified = 0,
        Proto3 = 1,
        Json = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.CommandType`.
    CommandType {
        Unspecified = 0,
        ScheduleActivityTask = 1,
        RequestCancelActivityTask = 2,
        StartTimer = 3,
        CompleteWorkflowExecution = 4,
        FailWorkflowExecution = 5,
        CancelTimer = 6,
        CancelWorkflowExecution = 7,
        RequestCancelExternalWorkflowExecution = 8,
        RecordMarker = 9,
        ContinueAsNewWorkflowExecution = 10,
        StartChildWorkflowExecution = 11,
        SignalExternalWorkflowExecution = 12,
        UpsertWorkflowSearchAttributes = 13,
        ProtocolMessage = 14,
        ModifyWorkflowProperties = 16,
        ScheduleNexusOperation = 17,
        RequestCancelNexusOperation = 18,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.QueryResultType`.
    QueryResultType {
        Unspecified = 0,
        Answered = 1,
        Failed = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.TaskQueueType`.
    TaskQueueType {
        Unspecified = 0,
        Workflow = 1,
        Activity = 2,
        Nexus = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.DescribeTaskQueueMode`.
    DescribeTaskQueueMode {
        Unspecified = 0,
        Enhanced = 1,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.RateLimitSource`.
    RateLimitSource {
        Unspecified = 0,
        Api = 1,
        Worker = 2,
        System = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.BuildIdTaskReachability`.
    BuildIdTaskReachability {
        Unspecified = 0,
        Reachable = 1,
        ClosedWorkflowsOnly = 2,
        Unreachable = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.WorkerStatus`.
    WorkerStatus {
        Unspecified = 0,
        Running = 1,
        ShuttingDown = 2,
        Shutdown = 3,
    }
}

enumeration! {
    /// `temporal.api.worker.v1.EnvironmentInfo.Runtime.RuntimeType`.
    EnvironmentInfoRuntimeRuntimeType {
        Unspecified = 0,
        Jvm = 1,
        Cpython = 2,
        Node = 3,
        Bun = 4,
        Cruby = 5,
        Go = 6,
        DotnetFramework = 7,
        DotnetCore = 8,
        Native = 9,
        Roadrunner = 10,
    }
}

enumeration! {
    /// `temporal.api.worker.v1.EnvironmentInfo.HostingEnvironment.HostingEnvironmentType`.
    EnvironmentInfoHostingEnvironmentHostingEnvironmentType {
        Unspecified = 0,
        Docker = 1,
        K8s = 2,
        AwsLambda = 3,
        AwsEcs = 4,
        GoogleCloudRun = 6,
        GoogleAppEngine = 7,
        AzureAppService = 8,
        AzureFunctions = 9,
        AzureContainerApps = 10,
    }
}

enumeration! {
    /// `temporal.api.worker.v1.EnvironmentInfo.Architecture`.
    EnvironmentInfoArchitecture {
        Unspecified = 0,
        Amd64 = 1,
        Arm64 = 2,
    }
}

enumeration! {
    /// `temporal.api.worker.v1.EnvironmentInfo.LinuxPlatform.Libc`.
    EnvironmentInfoLinuxPlatformLibc {
        Unspecified = 0,
        Glibc = 1,
        Musl = 2,
    }
}

enumeration! {
    /// `temporal.api.worker.v1.EnvironmentInfo.WindowsPlatform.Crt`.
    EnvironmentInfoWindowsPlatformCrt {
        Unspecified = 0,
        Ucrt = 1,
        Msvcrt = 2,
        Mingw = 3,
        Cygwin = 4,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ArchivalState`.
    ArchivalState {
        Unspecified = 0,
        Disabled = 1,
        Enabled = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.NamespaceState`.
    NamespaceState {
        Unspecified = 0,
        Registered = 1,
        Deprecated = 2,
        Deleted = 3,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ReplicationState`.
    ReplicationState {
        Unspecified = 0,
        Normal = 1,
        Handover = 2,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.IndexedValueType`.
    IndexedValueType {
        Unspecified = 0,
        Text = 1,
        Keyword = 2,
        Int = 3,
        Double = 4,
        Bool = 5,
        Datetime = 6,
        KeywordList = 7,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ResourceExhaustedCause`.
    ResourceExhaustedCause {
        Unspecified = 0,
        RpsLimit = 1,
        ConcurrentLimit = 2,
        SystemOverloaded = 3,
        PersistenceLimit = 4,
        BusyWorkflow = 5,
        ApsLimit = 6,
        PersistenceStorageLimit = 7,
        CircuitBreakerOpen = 8,
        OpsLimit = 9,
        WorkerDeploymentLimits = 10,
        BandwidthLimit = 11,
    }
}

enumeration! {
    /// `temporal.api.enums.v1.ResourceExhaustedScope`.
    ResourceExhaustedScope {
        Unspecified = 0,
        Namespace = 1,
        System = 2,
    }
}
