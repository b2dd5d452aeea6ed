"""Network access of the download and submission stages: Kaggle, credentials, HTTP, and downloads that resume."""
