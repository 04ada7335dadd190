"""How several members become one stream of distances; search by domain and track."""
