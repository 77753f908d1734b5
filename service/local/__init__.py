"""The whole service on one machine: `pace up` starts its parts and keeps them running."""
