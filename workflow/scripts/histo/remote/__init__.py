"""Everything that leaves the machine: Kaggle, credentials, web servers, downloads that resume. For scripts of network stages."""
