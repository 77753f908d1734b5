// Before MLflow's own pages begin: as a first visitor wants to see them, unless something else was chosen there.
for (const [key, value] of [
  ["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"], // the assistant's panel stays closed
  ["mlflow.workflowType_v1", '"machine_learning"'], // runs, not chats
]) {
  if (localStorage.getItem(key) === null) localStorage.setItem(key, value);
}
