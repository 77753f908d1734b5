"""The worker: a dispatcher that leases jobs to warm Ray actors, and the tracking process that fills MLflow."""
